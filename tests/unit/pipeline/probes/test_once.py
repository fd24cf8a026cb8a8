"""Fresh processes, memory, repeated answers, profiles and likeness: what is concluded from each."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from edgekit.pipeline.probes import agreement, cold, consistency, memory, ops
from edgekit.validity import Runtime
from tests.unit.boardstates import RUNTIME, WATCH, quiet

Data = dict[str, Any]


def start(millis: float) -> Data:
    times = {name: int(ns * millis) for name, ns in (("import", 100e6), ("load", 10e6), ("first_invoke", 2e6), ("second_invoke", 1e6))}
    states = quiet(("before", "cold", "after"))
    return {"times_ns": times, "threads": 1, "runtime": RUNTIME, "delegate": None, "states": states, "watch": {**WATCH, "core": None}}


def test_a_cold_start_leaves_the_first_one_out() -> None:
    starts = msgspec.convert([start(factor) for factor in (30.0, *np.linspace(1, 1.2, 19))], list[cold.Start])
    findings = cold.judge(starts, cores=4, simulated=False)
    by_name = {measurement.name: measurement for measurement in findings.measurements}
    load = by_name["load_p50"]
    assert (load.value, load.n, load.details["first_ms"]) == (11.0, 19, 300.0)
    assert load.details["lower_ms"] <= load.value <= load.details["upper_ms"]  # type: ignore[operator]
    assert by_name["cold_start_p50"].value == pytest.approx(112 * 1.1)
    assert findings.verdicts == ()
    assert len(findings.states) == 60
    assert cold.judge(starts, cores=4, simulated=True).verdicts[0].outcome == "invalid"


def test_memory_is_told_by_what_each_part_adds() -> None:
    def held(model: int) -> Data:
        peaks = {"interpreter": 20, "runtime": 60, "model": 60 + model, "invoke": 70 + model}
        stages = {name: {"peak": peak << 20, "now": peak << 20, "anonymous": peak << 19} for name, peak in peaks.items()}
        return {"stages": stages, "gpu_memory_bytes": None, "threads": 1, "runtime": RUNTIME}

    processes = msgspec.convert([held(30), held(31), held(35)], list[memory.Held])
    findings = memory.judge(processes, simulated=False)
    figures = {measurement.name: measurement.value for measurement in findings.measurements}
    added = {"interpreter_rss": 20.0, "runtime_rss": 40.0, "model_rss": 31.0, "invoke_rss": 10.0}
    assert figures == {"peak_rss": 101.0, **added, "anonymous": 50.5}
    assert memory.judge(processes, simulated=True).verdicts[0].outcome == "invalid"


@pytest.mark.parametrize(
    ("different", "anew", "outcome", "words"),
    [
        (0, 0, "pass", "always the same bytes"),
        (3, 0, "fail", "3 of 800 answers differed"),
        (0, 400, "fail", "all after the model was opened anew"),
    ],
)
def test_answers_repeat_or_not(different: int, anew: int, outcome: str, words: str) -> None:
    repeated = consistency.Repeated(8, 100, different, anew, 2.0, msgspec.convert(RUNTIME, Runtime), None)
    verdict, golden = consistency.judge(repeated, consistency.Check(ok=True, count=8, max_diff=1.0, tolerance=2.0)).verdicts
    assert verdict.outcome == outcome
    assert words in verdict.text
    assert golden.outcome == "pass"
    _, golden = consistency.judge(repeated, consistency.Check(ok=False, count=8, max_diff=None, tolerance=2.0)).verdicts
    assert (golden.outcome, golden.text) == ("fail", "no finite number from the build's answers to 8 samples; 2 are allowed")


def test_operators_by_their_share() -> None:
    nodes = [{"name": f"c{place}", "op": "Conv", "times_ns": [3_000_000] * 9} for place in range(2)]
    nodes += [{"name": "s", "op": "Softmax", "times_ns": [2_000_000] * 8 + [90_000_000]}]
    profile = msgspec.convert({"unsupported": None, "runs": 9, "threads": 1, "nodes": nodes, "runtime": RUNTIME}, ops.Profile)
    by_name = {measurement.name: measurement for measurement in ops.judge(profile, simulated=False).measurements}
    assert by_name["op Conv"].value == 0.75
    assert by_name["op Softmax"].value == 0.25
    assert by_name["profiled"].value == 8.0
    assert by_name["node s"].details["max_ms"] == 90.0
    assert ops.judge(profile, simulated=True).verdicts[0].outcome == "invalid"


def test_likeness() -> None:
    rng = np.random.default_rng(7)
    likeness = agreement.Likeness(classifies=True)
    for place in range(100):
        wanted = rng.normal(size=10).astype(np.float32)
        likeness.add(wanted, wanted if place % 2 else np.roll(wanted, 1), same=bool(place % 2))
    by_name = {measurement.name: measurement for measurement in likeness.measurements("float")}
    agreed = by_name["agreement_float"]
    assert agreed.value == by_name["identical_float"].value == 0.5
    assert agreed.details["low"] < 0.5 < agreed.details["high"]  # type: ignore[operator]
    assert by_name["cosine_float"].value == pytest.approx(0.5, abs=0.15)
    assert by_name["sqnr_float"].value == pytest.approx(10 * math.log10(1), abs=1.0)
    same = agreement.Likeness(classifies=False)
    same.add(wanted, wanted, same=True)
    figures = {measurement.name: measurement for measurement in same.measurements("host")}
    assert "agreement_host" not in figures
    assert (figures["sqnr_host"].value, figures["sqnr_host"].details["equal"]) == (None, True)


@pytest.mark.parametrize("harm", [math.nan, math.inf])
def test_outputs_that_are_no_numbers_have_no_likeness(harm: float) -> None:
    likeness = agreement.Likeness(classifies=True)
    likeness.add(np.array([1.0, 2.0]), np.array([1.0, harm]), same=False)
    figures = {measurement.name: measurement.value for measurement in likeness.measurements("host")}
    assert (figures["sqnr_host"], figures["cosine_host"], figures["identical_host"]) == (None, None, 0.0)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (cold.Start, {**start(1.0), "times_ns": {"import": 1}}),
        (cold.Start, {**start(1.0), "states": []}),
        (memory.Held, {"stages": {}, "gpu_memory_bytes": None, "threads": 1, "runtime": RUNTIME}),
        (consistency.Check, {"ok": True, "count": -1, "max_diff": None, "tolerance": 2.0}),
        (ops.Profile, {"unsupported": None, "runs": 9, "threads": 1, "nodes": [], "runtime": RUNTIME}),
    ],
)
def test_what_a_board_may_not_say(kind: type[msgspec.Struct], data: Data) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(data, kind)
