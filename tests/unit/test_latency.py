from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekit.errors import DeviceError
from edgekit.latency import latency_measurements
from edgekit.measurement import Findings
from edgekit.ondevice import board

Data = dict[str, Any]

BOARD: Data = {
    "time": "2026-01-01T00:00:00Z",
    "temperature_c": {"cpu-thermal": 51.0},
    "cpu_mhz": [1800.0, 1800.0, 1800.0, 1800.0],
    "governor": ["ondemand"],
    "gpu": None,
    "throttle_events": {},
    "alarms": [],
    "throttled": "0x0",
    "load1": 0.3,
    "power_mode": None,
    "power_w": {},
    "timed": None,
}
PHASES = ("before", "warm-up", "invoke", "invoke", "invoke", "end-to-end", "end-to-end", "after")


def states() -> list[Data]:
    """Return what a quiet board says: our own work has the timed cores to itself."""
    found = []
    for second, phase in enumerate(PHASES):
        timed = {"mhz": 1800.0, "total_s": 1000.0 + 3 * second, "busy_s": 500.0 + second, "own_s": 2.0 + second}
        found.append({**copy.deepcopy(BOARD), "time": 1.7e9 + second, "phase": phase, "timed": timed})
    return found


def answer() -> Data:
    """Return a sound answer of the agent, as JSON brings it: 2,000 runs near 20 ms, 25 ms end to end."""
    rng = np.random.default_rng(31)
    return {
        "import_ns": 210_000_000,
        "load_ns": 31_000_000,
        "first_invoke_ns": 44_000_000,
        "warmup": {"runs": 120, "seconds": 2.4, "steady": True},
        "invoke_ns": (20e6 + rng.gamma(2, 2e5, 2000)).astype(int).tolist(),
        "end_to_end_ns": (25e6 + rng.gamma(2, 3e5, 2000)).astype(int).tolist(),
        "stages_ns": {"preprocess": [4_000_000] * 2000, "set": [300_000] * 2000, "get": [100_000] * 2000},
        "parts_ns": {},
        "capped": False,
        "peak_rss_bytes": 64 << 20,
        "gpu_memory_bytes": None,
        "threads": 4,
        "runtime": {"name": "tflite_runtime", "version": "2.14.0"},
        "delegate": "xnnpack",
        "fed": "samples",
        "states": states(),
        "watch": {"core": 3, "timed": [0, 1, 2], "period_s": 0.5},
    }


def measure(data: Data, *, simulated: bool = False, budget_ms: float | None = None) -> Findings:
    return latency_measurements(json.loads(json.dumps(data)), address="pi@192.0.2.7", cores=4, simulated=simulated, p99_budget_ms=budget_ms)


def test_a_sound_run() -> None:
    data = answer()
    findings = measure(data)
    by_name = {measurement.name: measurement for measurement in findings.measurements}
    assert all(measurement.valid for measurement in findings.measurements)
    assert findings.verdicts == ()
    assert findings.samples["invoke_ns"] == tuple(data["invoke_ns"])
    assert by_name["load"].value == 31.0
    assert by_name["peak_rss"].value == 64.0
    assert by_name["temperature_after"].value == 51.0
    assert by_name["invoke_p50"].value == pytest.approx(np.median(data["invoke_ns"]) / 1e6, rel=1e-3)
    p99 = by_name["end_to_end_p99"]
    assert (p99.n, p99.unit, p99.details["needs"]) == (2000, "ms", 0)
    assert p99.details["lower_ms"] <= p99.value <= p99.details["upper_ms"]  # type: ignore[operator]  # all are floats here
    assert findings.environment == {
        "runtime": "tflite_runtime 2.14.0",
        "delegate": "xnnpack",
        "threads": "4",
        "governor": "ondemand",
        "affinity": "0,1,2",
        "watched": "every 0.5 s on core 3, where nothing was timed",
    }


def test_the_parts_of_a_run_on_a_gpu() -> None:
    data = answer()
    data["parts_ns"] = {"h2d": [1_000_000] * 2000, "compute": [18_000_000] * 2000, "d2h": [500_000] * 2000}
    data["gpu_memory_bytes"] = 96 << 20
    findings = measure(data)
    by_name = {measurement.name: measurement for measurement in findings.measurements}
    assert [by_name[f"{part}_p50"].value for part in ("h2d", "compute", "d2h")] == [1.0, 18.0, 0.5]
    assert by_name["gpu_memory"].value == 96.0
    assert findings.samples["compute_ns"] == (18_000_000,) * 2000


def test_a_run_that_was_fed_no_samples_says_so() -> None:
    data = answer()
    data.update(import_ns=None, load_ns=None, first_invoke_ns=None, end_to_end_ns=[], stages_ns={}, fed="random values of trtexec")
    findings = measure(data)
    assert not any(
        measurement.name.startswith(("import", "load", "preprocess", "first", "end_to_end")) for measurement in findings.measurements
    )
    assert set(findings.samples) == {"invoke_ns"}
    assert findings.environment["fed"] == "random values of trtexec"


def set_(*path: str | int, to: object) -> Callable[[Data], None]:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = to

    return change


def throttled(before: str, after: str) -> Callable[[Data], None]:
    def change(data: Data) -> None:
        for place, state in enumerate(data["states"]):
            state["throttled"] = after if place else before

    return change


def loaded(load1: float) -> Callable[[Data], None]:
    """Let a load before the run be all that the board tells of other work."""

    def change(data: Data) -> None:
        for state in data["states"]:
            state["timed"] = None
        data["states"][0]["load1"] = load1

    return change


def heat_up(data: Data) -> None:
    data["invoke_ns"] = [int(value * (1 + 0.06 * index / 2000)) for index, value in enumerate(data["invoke_ns"])]


@pytest.mark.parametrize(
    ("change", "rule", "reason"),
    [
        (set_("warmup", "steady", to=False), "unsteady", "not steady after 120 warm-up runs"),
        (throttled("0x1", "0x0"), "throttled", "under-voltage"),
        (throttled("0x0", "0x4"), "throttled", "throttling"),
        (throttled("0x50000", "0xD0000"), "throttled", "soft temperature limit"),
        (set_("states", 4, "alarms", to=["gpu-throttle-alert"]), "gpu_throttled", "gpu-throttle-alert"),
        (loaded(2.5), "busy", "load 2.50 on 4 cores"),
        (heat_up, "drifting", "invoke drifted by +5"),
    ],
)
def test_a_broken_rule_makes_the_run_invalid(change: Callable[[Data], None], rule: str, reason: str) -> None:
    data = answer()
    change(data)
    findings = measure(data, budget_ms=1000.0)
    (verdict,) = findings.verdicts
    assert verdict.outcome == "invalid"
    assert reason in verdict.text
    assert list(verdict.figures) == [rule]
    assert {measurement.rule for measurement in findings.measurements if measurement.unit == "ms"} == {rule}
    assert all(measurement.valid for measurement in findings.measurements if measurement.unit != "ms")


@pytest.mark.parametrize(
    "change",
    [
        throttled("0x50000", "0x50000"),
        loaded(1.9),
        set_("states", 0, "load1", to=4.0),  # of what ran before: the cores' time shows that it is over
        set_("states", -1, "load1", to=4.0),
        set_("states", 0, "throttled", to=None),
    ],
)
def test_what_is_no_fault_of_the_run_leaves_it_valid(change: Callable[[Data], None]) -> None:
    data = answer()
    change(data)
    assert all(measurement.valid for measurement in measure(data).measurements)


def test_a_simulated_board_is_never_measured() -> None:
    (verdict,) = measure(answer(), simulated=True, budget_ms=1000.0).verdicts
    assert (verdict.outcome, list(verdict.figures)) == ("invalid", ["simulated"])


def test_every_broken_rule_is_told() -> None:
    data = answer()
    throttled("0x0", "0xF")(data)
    loaded(9.0)(data)
    (verdict,) = measure(data).verdicts
    assert list(verdict.figures) == ["throttled", "busy"]


def test_the_state_that_the_agent_reads_is_understood() -> None:
    data = answer()
    data["states"] = [board.state()] * 2
    assert measure(data).samples["invoke_ns"] == tuple(data["invoke_ns"])


def test_the_clock_of_the_gpu_is_told() -> None:
    data = answer()
    for state in data["states"]:
        state["gpu"] = {"mhz": 1020.0, "min_mhz": 1020.0, "max_mhz": 1020.0, "governor": "nvhost_podgov"}
    findings = measure(data)
    (clock,) = (measurement for measurement in findings.measurements if measurement.name == "gpu_clock_after")
    assert (clock.value, clock.unit, clock.details) == (1020.0, "MHz", {"lowest": 1020.0, "highest": 1020.0})
    assert findings.environment["gpu_clock"] == "at most 1020 MHz, locked"


def test_a_series_that_was_cut_short_is_told() -> None:
    data = answer()
    data["capped"] = True
    assert "capped" in measure(data).environment


def test_a_short_noisy_run_is_not_called_drifting() -> None:
    data = answer()
    data["invoke_ns"] = [20_000_000, 22_000_000, 19_000_000, 24_000_000, 23_000_000, 21_000_000, 25_000_000, 20_500_000]
    assert measure(data).verdicts == ()


@pytest.mark.parametrize(("budget_ms", "outcome"), [(30.0, "pass"), (20.1, "fail"), (21.35, "inconclusive")])
def test_the_budget_is_judged_by_the_bounds(budget_ms: float, outcome: str) -> None:
    (verdict,) = measure(answer(), budget_ms=budget_ms).verdicts
    assert (verdict.name, verdict.outcome) == ("latency_p99", outcome)


def test_too_few_samples_say_how_many_are_missing() -> None:
    data = answer()
    data["invoke_ns"] = data["invoke_ns"][:100]
    (verdict,) = measure(data, budget_ms=30.0).verdicts
    needs = verdict.figures["needs"]
    assert verdict.outcome == "inconclusive"
    assert isinstance(needs, int)
    assert needs >= 562
    assert f"{needs} more samples" in verdict.text


@pytest.mark.parametrize(
    "change",
    [
        set_("invoke_ns", to=[]),
        set_("invoke_ns", to=[-1]),
        set_("invoke_ns", to=[10**30]),
        set_("invoke_ns", to=[1.5]),
        set_("end_to_end_ns", to="many"),
        set_("load_ns", to=True),
        set_("peak_rss_bytes", to=1 << 60),
        set_("surprise", to=1),
        set_("threads", to=0),
        set_("states", 0, "throttled", to="0x0; rm"),
        set_("states", 0, "throttled", to="0x" + "f" * 99),
        set_("states", -1, "governor", to=["x" * 201]),
        set_("states", -1, "temperature_c", to={"cpu": 1e9}),
        set_("warmup", to={}),
        set_("parts_ns", to={"h2d": []}),
        set_("parts_ns", to={"lunch": [1]}),
        set_("gpu_memory_bytes", to=-1),
        set_("fed", to="x" * 201),
        set_("states", to=[]),
        set_("states", 1, "timed", "own_s", to=-1.0),
        set_("watch", "timed", to=[]),
        set_("stages_ns", to={"lunch": [1]}),
    ],
)
def test_a_malformed_answer_is_refused_with_the_device(change: Callable[[Data], None]) -> None:
    data = answer()
    change(data)
    with pytest.raises(DeviceError, match=r"pi@192\.0\.2\.7: the answer to probe\.latency is malformed"):
        measure(data)
