"""Whether a board with an NVIDIA GPU slowed itself down during a run."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgekit.throttle import BoardState, clock_words, gpu_throttled

FREE = {"mhz": 1020.0, "min_mhz": 306.0, "max_mhz": 1020.0, "governor": "nvhost_podgov"}
LOCKED = {**FREE, "min_mhz": 1020.0}
STATE: dict[str, Any] = {
    "time": 0.0,
    "temperature_c": {},
    "cpu_mhz": [],
    "governor": [],
    "gpu": FREE,
    "throttle_events": {"oc1": 0, "oc2": 15, "oc3": 37},
    "alarms": [],
    "throttled": None,
    "load1": None,
    "power_mode": "MAXN",
}


def state(**changes: Any) -> BoardState:
    return msgspec.convert({**STATE, **changes}, BoardState)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ({}, {"throttle_events": {"oc1": 0, "oc2": 15, "oc3": 40}}, "instantaneous over-current 3 times"),
        ({}, {"throttle_events": {"oc1": 1, "oc2": 16, "oc3": 37}}, "under-voltage 1 times, average over-current 1 times"),
        ({}, {"throttle_events": {"oc1": 0, "oc2": 15, "oc3": 37, "oc4": 2}}, None),
        ({"throttle_events": {"oc4": 1}}, {"throttle_events": {"oc4": 2}}, "oc4 1 times"),
        ({}, {"alarms": ["gpu-throttle-alert"]}, "gpu-throttle-alert"),
        ({"alarms": ["current of VDD_IN"]}, {}, None),
        ({}, {"gpu": {**FREE, "max_mhz": 918.0}}, "the GPU's limit fell from 1020 to 918 MHz"),
        ({"gpu": LOCKED}, {"gpu": {**LOCKED, "mhz": 918.0}}, "the GPU ran at 918 of 1020 MHz"),
        ({}, {"gpu": {**FREE, "mhz": 306.0, "governor": "performance"}}, "the GPU ran at 306 of 1020 MHz"),
        ({"gpu": LOCKED}, {"gpu": {**LOCKED, "mhz": 1019.25}}, None),
        ({"gpu": LOCKED}, {"gpu": {**LOCKED, "mhz": 0.0}}, None),
        ({}, {"gpu": {**FREE, "mhz": 306.0}}, None),
        ({"gpu": None}, {"gpu": None}, None),
    ],
)
def test_what_slows_a_board_down(before: dict[str, Any], after: dict[str, Any], reason: str | None) -> None:
    expected = reason and f"the board slowed itself down: {reason}"
    assert gpu_throttled(state(**before), state(**after)) == expected


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        (FREE, "at most 1020 MHz, free from 306 MHz, moved by nvhost_podgov"),
        (LOCKED, "at most 1020 MHz, locked"),
        (None, ""),
    ],
)
def test_the_clock_in_words(gpu: dict[str, Any] | None, words: str) -> None:
    assert clock_words(state(gpu=gpu).gpu) == words
