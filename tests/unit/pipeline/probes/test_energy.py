"""Energy by the board's rails: the idle power is taken off, and what cannot be told is not told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from edgekit.measurement import Findings
from edgekit.pipeline.probes import Unsupported, unsupported
from edgekit.pipeline.probes.energy import Spent, judge
from tests.unit.boardstates import RUNTIME, STEADY, WATCH, quiet

Data = dict[str, Any]

PHASES = ("before", "settle", *["idle-before"] * 50, "settle", *["load"] * 100, "settle", *["idle-after"] * 50, "after")
RAILS = {"VDD_IN": (5.0, 8.0), "VDD_CPU_GPU_CV": (0.6, 2.6)}


def answer() -> Data:
    """Return ten seconds of load, 1,000 inferences, on a Jetson with two rails: 3 W and 2 W above idling."""
    rng, states = np.random.default_rng(3), quiet(PHASES)
    for state in states:
        at = 1 if state["phase"] == "load" else 0
        state["power_w"] = {rail: watts[at] + float(rng.normal(0, 0.05)) for rail, watts in RAILS.items()}
    done = {"unsupported": None, "count": 1000, "seconds": 10.0, "warmup": dict(STEADY), "threads": 1, "states": states}
    return {**done, "watch": {**WATCH, "period_s": 0.1}, "runtime": RUNTIME, "delegate": None}


def found(data: Data, *, simulated: bool = False) -> Findings:
    return judge(msgspec.convert(data, Spent), cores=4, simulated=simulated)


def test_each_rail_with_its_interval_and_the_rate_of_reading() -> None:
    findings = found(answer())
    by_name = {measurement.name: measurement for measurement in findings.measurements}
    for rail, joules in (("VDD_IN", 30.0), ("VDD_CPU_GPU_CV", 20.0)):
        energy = by_name[f"energy {rail}"]
        assert energy.unit == "mJ"
        assert energy.value == pytest.approx(joules, abs=0.4)
        assert energy.details["low_mj"] <= joules <= energy.details["high_mj"]  # type: ignore[operator]
        assert by_name[f"power {rail}"].details["idle_before"] == pytest.approx(RAILS[rail][0], abs=0.03)
    assert findings.verdicts == ()
    assert findings.environment["watched"] == "every 0.1 s on core 3, where nothing was timed"
    assert len(findings.samples["power VDD_IN_mw"]) == len(PHASES)


def warmer(data: Data) -> None:
    for state in data["states"]:
        if state["phase"] == "idle-after":
            state["power_w"]["VDD_IN"] += 1.0


def simulated(data: Data) -> None:
    data["warmup"]["steady"] = False


@pytest.mark.parametrize(("change", "rule"), [(warmer, "idle_moved"), (simulated, "unsteady")])
def test_a_broken_rule_makes_it_invalid(change: Callable[[Data], None], rule: str) -> None:
    data = answer()
    change(data)
    findings = found(data)
    assert [(verdict.outcome, list(verdict.figures)) for verdict in findings.verdicts] == [("invalid", [rule])]
    assert {measurement.rule for measurement in findings.measurements if measurement.unit in ("mJ", "W")} == {rule}


def test_a_load_that_is_lost_in_the_noise_is_told_as_such() -> None:
    data, rng = answer(), np.random.default_rng(4)
    for state in data["states"]:
        state["power_w"] = {"VDD_IN": 5.0 + float(rng.normal(0, 0.5))}
    (verdict,) = found(data).verdicts
    assert (verdict.outcome, verdict.text) == ("inconclusive", "no rail tells the load from idling: measure longer")


def test_a_rail_that_fell_silent_is_no_figure() -> None:
    data = answer()
    for state in data["states"]:
        if state["phase"] == "load":
            state["power_w"] = {}
    findings = found(data)
    assert not any(measurement.unit == "mJ" for measurement in findings.measurements)
    assert findings.verdicts[0].outcome == "invalid"


def test_no_sensors_no_figure() -> None:
    findings = unsupported("energy", Unsupported("the board has no power sensors"))
    assert findings.measurements == ()
    (verdict,) = findings.verdicts
    assert (verdict.outcome, verdict.text.split(":")[0]) == ("invalid", "unsupported")
