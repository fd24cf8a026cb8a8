"""What is concluded from the windows of a long run, whole or cut short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from edgekit.measurement import Findings
from edgekit.pipeline.probes.soak import Begun, Ended, SoakOptions, Window, judge
from tests.unit.boardstates import RUNTIME, STEADY, WATCH, quiet

Data = dict[str, Any]

COUNT = 60
STATES = quiet(["before", *["soak"] * COUNT, "after"])


def windows(slower: float = 0.0, warmer: float = 0.0) -> list[Data]:
    """Return an hour of windows that get slower and warmer to the end, by fractions and degrees."""
    found, rng = [], np.random.default_rng(9)
    for place in range(COUNT):
        share = place / (COUNT - 1)
        p50 = int(10e6 * (1 + slower * share) * (1 + rng.normal(0, 0.01)))
        state = {**STATES[1 + place], "temperature_c": {"cpu-thermal": 50 + warmer * share}}
        times = {"min": p50 - 10_000, "p50": p50, "p90": p50 + 10_000, "p99": p50 + 50_000, "max": p50 + 900_000}
        found.append(
            {"start_s": 60.0 * place, "seconds": 60.0, "count": 6000, "invoke_ns": times, "rss_pages": 12_000 + place, "state": state}
        )
    return found


def found(parts: list[Data], *, early: str | None = None, died: bool = False, drift_max: float = 0.03, simulated: bool = False) -> Findings:
    begun = {"warmup": dict(STEADY), "threads": 1, "runtime": RUNTIME, "delegate": None, "state": STATES[0], "watch": WATCH}
    return judge(
        msgspec.convert(begun, Begun),
        msgspec.convert(parts, list[Window]),
        None if early else msgspec.convert({"windows": len(parts), "state": STATES[-1]}, Ended),
        options=SoakOptions(minutes=60.0, drift_max=drift_max),
        cores=4,
        simulated=simulated,
        early=early,
        died=died,
    )


def test_a_board_that_keeps_its_pace() -> None:
    findings = found(windows(warmer=6.0))
    (verdict,) = findings.verdicts
    assert (verdict.name, verdict.outcome) == ("soak", "pass")
    by_name = {measurement.name: measurement for measurement in findings.measurements}
    assert by_name["minutes"].value == 60.0
    assert by_name["rate"].value == 100.0
    assert by_name["temperature_change"].value == pytest.approx(6.0, abs=0.2)
    assert by_name["clock_change"].value == 0.0
    assert by_name["memory_growth"].value == pytest.approx(59 / 12_000)
    assert len(findings.states) == COUNT + 2
    assert {len(series) for series in findings.samples.values()} == {COUNT}


@pytest.mark.parametrize(
    ("slower", "drift_max", "outcome"), [(0.08, 0.03, "fail"), (-0.08, 0.03, "pass"), (0.08, 0.2, "pass"), (0.03, 0.03, "inconclusive")]
)
def test_a_drift_is_judged_by_its_interval(slower: float, drift_max: float, outcome: str) -> None:
    (verdict,) = found(windows(slower), drift_max=drift_max).verdicts
    assert verdict.outcome == outcome


def test_a_lost_link_keeps_what_came_and_says_so() -> None:
    findings = found(windows()[:30], early="board: the connection broke")
    (verdict,) = findings.verdicts
    assert verdict.outcome == "inconclusive"
    assert verdict.text == "ended after 30.0 of 60 min: board: the connection broke"
    assert {measurement.valid for measurement in findings.measurements} == {True}
    assert found(windows(0.2)[:30], early="interrupted").verdicts[0].outcome == "fail", "slower is slower, however it ended"


def test_a_release_that_does_not_go_on_has_failed() -> None:
    (verdict,) = found(windows()[:30], early="board: the agent was killed by signal 9 without an answer", died=True).verdicts
    assert verdict.outcome == "fail"
    assert "after 30.0 of 60 min: board: the agent was killed by signal 9" in verdict.text


def test_few_windows_tell_nothing() -> None:
    findings = found(windows(0.2, warmer=60.0)[:6])
    (verdict,) = findings.verdicts
    assert verdict.outcome == "inconclusive"
    assert "6 windows are too few" in verdict.text
    by_name = {measurement.name: measurement for measurement in findings.measurements}
    assert (by_name["drift"].value, by_name["drift"].details) == (None, {})
    assert "temperature_change" not in by_name, "no change would be a claim"


def test_a_board_in_the_cold_gets_warmer_too() -> None:
    parts = windows(warmer=8.0)
    for part in parts:
        part["state"]["temperature_c"]["cpu-thermal"] -= 56.0
    by_name = {measurement.name: measurement for measurement in found(parts).measurements}
    assert by_name["temperature_change"].value == pytest.approx(8.0, abs=0.2)


def test_windows_that_took_no_time_are_refused() -> None:
    parts = windows()[:8]
    for part in parts:
        part["seconds"] = 0.0
    with pytest.raises(msgspec.ValidationError, match="seconds"):
        found(parts)


def throttled(state: Data) -> None:
    state["throttled"] = "0x4"


def alarm(state: Data) -> None:
    state["alarms"] = ["cpu-throttle-alert"]


@pytest.mark.parametrize(("change", "rule"), [(throttled, "throttled"), (alarm, "gpu_throttled")])
def test_one_window_in_which_the_board_slowed_down_is_enough(change: Callable[[Data], None], rule: str) -> None:
    parts = windows()
    parts[17]["state"] = dict(parts[17]["state"])
    change(parts[17]["state"])
    findings = found(parts)
    assert findings.verdicts[0].outcome == "invalid"
    assert next(iter(findings.verdicts[0].figures)) == rule
    assert {measurement.rule for measurement in findings.measurements if measurement.unit == "ms"} == {rule}


def test_a_clock_that_falls_for_good_is_seen() -> None:
    parts = windows()
    for part in parts[40:]:
        part["state"] = {**part["state"], "timed": {**part["state"]["timed"], "mhz": 1500.0}}
    (verdict,) = found(parts).verdicts
    assert next(iter(verdict.figures)) == "clock_step"
