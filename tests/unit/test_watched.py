"""From sensors that change under a probe to its verdict: a real process watches a tree of files while the probe's phases pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.latency import latency_measurements
from tests.unit.test_latency import answer

ROOT = Path(__file__).resolve().parents[2]

# The phases of a probe; it says when it has come to be measured, and waits until the board has changed.
PROBE = """
import json, sys
from edgekit.ondevice.sampler import Sampler
sampler = Sampler(1, 0.05, sys.argv[1])
sampler.phase("invoke")
states = sampler.take()
print("invoke", flush=True)
sys.stdin.readline()
sampler.phase("end-to-end")
answer = sampler.end()
print(json.dumps({**answer, "states": states + answer["states"]}))
"""
BOARD = {
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "50000",
    "sys/class/thermal/cooling_device0/type": "cpu-throttle-alert",
    "sys/class/thermal/cooling_device0/cur_state": "0",
    "sys/class/hwmon/hwmon0/name": "soctherm_oc",
    "sys/class/hwmon/hwmon0/oc1_event_cnt": "3",
    "sys/class/devfreq/17000000.gpu/cur_freq": "1020000000",
    "sys/class/devfreq/17000000.gpu/min_freq": "1020000000",
    "sys/class/devfreq/17000000.gpu/max_freq": "1020000000",
    "bin/throttled": "0x0",
    **{f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor": "performance" for core in range(os.cpu_count() or 1)},
    **{f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq": "1800000" for core in range(os.cpu_count() or 1)},
}
SLOWER = {name: "1500000" for name in BOARD if name.endswith("scaling_cur_freq")}


def put(top: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text + "\n")


def measured(top: Path, change: Callable[[], object]) -> dict[str, Any]:
    """Return a sound answer of `probe.latency` with the states of a board that was changed while it was measured."""
    put(top, BOARD)
    (top / "bin" / "vcgencmd").write_text(f'#!/bin/sh\n[ "$1" = get_throttled ] && echo "throttled=$(cat {top}/bin/throttled)"\n')
    (top / "bin" / "vcgencmd").chmod(0o755)
    environment = {**os.environ, "PATH": f"{top}/bin:{os.environ['PATH']}"}
    words = [sys.executable, "-c", PROBE, str(top)]
    with subprocess.Popen(words, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "invoke\n"
        change()
        said, _ = process.communicate("\n", timeout=60)
    data = answer()
    data.update(json.loads(said))
    for state in data["states"]:
        state["load1"] = 0.0  # this machine's own
    return data


@pytest.mark.parametrize(
    ("changes", "rule", "reason"),
    [
        ({"bin/throttled": "0x4"}, "throttled", "throttling"),
        ({"bin/throttled": "0x80000"}, "throttled", "soft temperature limit"),
        ({"sys/class/thermal/cooling_device0/cur_state": "2"}, "gpu_throttled", "cpu-throttle-alert"),
        ({"sys/class/hwmon/hwmon0/oc1_event_cnt": "5"}, "gpu_throttled", "under-voltage 2 times"),
        ({"sys/class/devfreq/17000000.gpu/cur_freq": "918000000"}, "gpu_throttled", "the GPU ran at 918 of 1020 MHz"),
        (SLOWER, "clock_step", "fell from 1800 to 1500 MHz"),
    ],
    ids=["throttled", "throttled meanwhile", "alert", "under-voltage", "GPU clock", "CPU clock"],
)
def test_sensors_that_change_make_the_verdict_invalid(tmp_path: Path, changes: dict[str, str], rule: str, reason: str) -> None:
    data = measured(tmp_path, lambda: put(tmp_path, changes))
    findings = latency_measurements(data, address="board", cores=4, simulated=False, p99_budget_ms=1000.0)
    (verdict,) = findings.verdicts
    assert verdict.outcome == "invalid"
    # Other programs of this machine may disturb, too.
    assert [name for name in verdict.figures if name != "disturbed"] == [rule]
    assert reason in verdict.text
    assert not any(measurement.valid for measurement in findings.measurements if measurement.unit == "ms")


def test_a_board_that_stays_as_it_is_breaks_no_rule(tmp_path: Path) -> None:
    data = measured(tmp_path, lambda: None)
    verdicts = latency_measurements(data, address="board", cores=4, simulated=False, p99_budget_ms=1000.0).verdicts
    assert {name for verdict in verdicts if verdict.outcome == "invalid" for name in verdict.figures} <= {"disturbed"}


def test_other_work_on_the_timed_cores_makes_it_invalid(tmp_path: Path) -> None:
    spin = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
    others: list[subprocess.Popen[bytes]] = []

    def disturb() -> None:
        others.extend(subprocess.Popen([sys.executable, "-c", spin]) for _ in os.sched_getaffinity(0))
        others[0].poll()
        try:
            others[0].wait(1.5)
        except subprocess.TimeoutExpired:
            return

    try:
        data = measured(tmp_path, disturb)
    finally:
        for process in others:
            process.kill()
            process.wait()
    findings = latency_measurements(data, address="board", cores=4, simulated=False)
    assert [(verdict.outcome, list(verdict.figures)) for verdict in findings.verdicts] == [("invalid", ["disturbed"])]
