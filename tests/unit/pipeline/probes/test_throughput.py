"""What is concluded from spans in which inferences were counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from edgekit.errors import DeviceError
from edgekit.measurement import Findings
from edgekit.pipeline.probes.throughput import Load, judge
from tests.unit.boardstates import RUNTIME, STEADY, WATCH, quiet

Data = dict[str, Any]


def answer() -> Data:
    """Return two streams' inferences of 10 ms, 200 a second together."""
    rng = np.random.default_rng(5)
    return {
        "streams": 2,
        "threads": 1,
        "batch": 1,
        "warmup": dict(STEADY),
        "span_ns": [500_000_000] * 30,
        "span_count": [100 + int(extra) for extra in rng.integers(-2, 3, 30)],
        "invoke_ns": [(10e6 + rng.gamma(2, 1e5, 1500)).astype(int).tolist() for _ in range(2)],
        "peak_rss_bytes": 64 << 20,
        "runtime": RUNTIME,
        "delegate": "xnnpack",
        "states": quiet(["before", "warm-up", *["throughput"] * 5, "after"]),
        "watch": dict(WATCH),
    }


def found(data: Data, *, simulated: bool = False) -> Findings:
    return judge(msgspec.convert(data, Load), address="board", cores=4, simulated=simulated)


def test_a_rate_with_its_interval() -> None:
    data = answer()
    findings = found(data)
    by_name = {measurement.name: measurement for measurement in findings.measurements}
    rate = by_name["throughput"]
    assert rate.value == sum(data["span_count"]) / 15.0
    assert 195 < rate.details["low_per_s"] < rate.value < rate.details["high_per_s"] < 205  # type: ignore[operator]
    assert findings.verdicts == ()
    assert findings.environment["streams"] == "2"
    loaded = by_name["loaded_p99"]
    assert loaded.n == 3000
    assert loaded.details["lower_ms"] <= loaded.value <= loaded.details["upper_ms"]  # type: ignore[operator]
    assert sorted(findings.samples) == ["stream0_ns", "stream1_ns"]


def test_samples_of_a_batch_are_counted_too() -> None:
    by_name = {measurement.name: measurement for measurement in found({**answer(), "batch": 8}).measurements}
    assert by_name["throughput_samples"].value == 8 * by_name["throughput"].value  # type: ignore[operator]


def slower(data: Data) -> None:
    data["span_count"] = [100 - place // 3 for place in range(30)]


def unsteady(data: Data) -> None:
    data["warmup"]["steady"] = False


def others(data: Data) -> None:
    for second, state in enumerate(data["states"]):
        state["timed"]["busy_s"] += second


@pytest.mark.parametrize(
    ("change", "rule", "reason"),
    [(slower, "drifting", "the rate drifted by -"), (unsteady, "unsteady", "100 warm-up runs"), (others, "disturbed", "34% of the cores")],
)
def test_a_broken_rule_makes_it_invalid(change: Callable[[Data], None], rule: str, reason: str) -> None:
    data = answer()
    change(data)
    findings = found(data)
    (verdict,) = findings.verdicts
    assert (verdict.outcome, list(verdict.figures)) == ("invalid", [rule])
    assert reason in verdict.text
    assert {measurement.rule for measurement in findings.measurements if measurement.unit in ("1/s", "ms")} == {rule}


def test_a_network_slower_than_the_run_proves_nothing() -> None:
    findings = found({**answer(), "span_count": [0] * 30, "invoke_ns": [[], []]})
    (verdict,) = findings.verdicts
    assert (verdict.outcome, findings.measurements[0].n) == ("inconclusive", 0)


def test_an_answer_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(DeviceError, match="contradicts itself"):
        found({**answer(), "streams": 3})
