"""What a quiet board says of itself while it is measured, for the tests of those who judge it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Data = dict[str, Any]

WATCH: Data = {"core": 3, "timed": [0, 1, 2], "period_s": 0.5}
RUNTIME: Data = {"name": "ai-edge-litert", "version": "2.3.0"}
STEADY: Data = {"runs": 100, "seconds": 2.0, "steady": True}


def quiet(phases: Iterable[str]) -> list[Data]:
    """Return a state for each phase, a second apart: three cores are timed, and our own work has one of them to itself."""
    return [
        {
            "time": 1.7e9 + second,
            "temperature_c": {"cpu-thermal": 50.0},
            "cpu_mhz": [1800.0] * 4,
            "governor": ["ondemand"] * 4,
            "gpu": None,
            "throttle_events": {},
            "alarms": [],
            "throttled": "0x0",
            "load1": 0.2,
            "power_mode": None,
            "power_w": {},
            "phase": phase,
            "timed": {"mhz": 1800.0, "total_s": 900.0 + 3 * second, "busy_s": 100 + 1.02 * second, "own_s": float(second)},
        }
        for second, phase in enumerate(phases)
    ]
