"""The gate on a slow-down: its verdicts, and by simulation how often it is wrong.

The simulated board wanders by 5 % and drifts, each series wanders besides by 1 % on its own, single runs are noisy and one in a hundred is
interrupted, and where an artifact came to lie in memory changes its pace by 0.5 % from process to process.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from edgekit.errors import DeviceError
from edgekit.measurement import Verdict
from edgekit.ratio import LatencyRatio
from edgekit.regression import SLOWDOWN_MAX, Turns, judge_ratio, parse_turns, ratio_of, regression_findings, slower

CURRENT, OTHER = "c" * 64, "0" * 64
BLOCK, ROUNDS = 20, 75  # the default size of the probe: 1,500 runs of each
STATE: dict[str, Any] = {
    "time": 1.0,
    "temperature_c": {"cpu": 40.0},
    "cpu_mhz": [1500.0],
    "governor": ["performance"],
    "gpu": None,
    "throttle_events": {},
    "alarms": [],
    "throttled": "0x0",
    "load1": 0.1,
    "power_mode": None,
}


def wander(rng: np.random.Generator, rho: float, n: int) -> np.ndarray:
    steps = rng.normal(size=n)
    steps[1:] *= math.sqrt(1 - rho * rho)
    for index in range(1, n):
        steps[index] += rho * steps[index - 1]
    return steps


def answer(rng: np.random.Generator, slow: float, rounds: int = ROUNDS) -> dict[str, Any]:
    """Return what a board says on which the current release takes ``slow`` times as long as the other."""
    pace = (1 + 0.05 * wander(rng, 0.9, rounds)) * np.linspace(1, 1 + rng.uniform(-0.05, 0.05), rounds)
    releases = []
    for release, factor in ((OTHER, 1.0), (CURRENT, slow)):
        own = np.repeat(pace * (1 + 0.01 * wander(rng, 0.6, rounds)), BLOCK) * factor * (1 + 0.005 * rng.normal())
        times = 5e6 * own * (1 + 0.03 * rng.exponential(size=len(own)))
        hit = rng.integers(0, len(times), len(times) // 100)
        times[hit] *= rng.uniform(2, 30, len(hit))
        runtime = {"name": "ai-edge-litert", "version": "2.3.0"}
        warmup = {"runs": 60, "seconds": 2.0, "steady": True}
        series = times.astype(int).tolist()
        releases.append({"release": release, "runtime": runtime, "delegate": None, "warmup": warmup, "invoke_ns": series})
    watch = {"core": 1, "timed": [0], "period_s": 0.5}
    return {"block_runs": BLOCK, "threads": 1, "releases": releases, "states": [STATE, STATE, STATE], "watch": watch}


def turns(rng: np.random.Generator, slow: float, rounds: int = ROUNDS) -> Turns:
    return msgspec.convert(answer(rng, slow, rounds), Turns)


def verdict(runs: list[Turns], slowdown_max: float = SLOWDOWN_MAX, simulated: bool = False) -> Verdict:
    (found,) = regression_findings(runs, CURRENT, OTHER, slowdown_max=slowdown_max, cores=4, simulated=simulated).verdicts
    return found


def gate(rng: np.random.Generator, slow: float) -> str:
    """Judge as the probe does: a second run where the first found it slower."""
    runs = [turns(rng, slow)]
    if slower(runs[0], CURRENT, OTHER, SLOWDOWN_MAX):
        runs.append(turns(rng, slow))
    outcomes = [judge_ratio(ratio, SLOWDOWN_MAX)[0] for run in runs if (ratio := ratio_of(run, CURRENT, OTHER))]
    return "fail" if outcomes == ["fail", "fail"] else "inconclusive" if outcomes[0] == "fail" else outcomes[0]


def test_two_equal_releases_raise_no_alarm() -> None:
    rng = np.random.default_rng(41)
    outcomes = [gate(rng, 1.0) for _ in range(500)]
    assert outcomes.count("fail") <= 1  # the promise is 1 %, 5 of them
    assert outcomes.count("pass") >= 400


def test_a_slow_down_of_five_percent_is_found() -> None:
    rng = np.random.default_rng(43)
    outcomes = [gate(rng, 1.05) for _ in range(300)]
    assert outcomes.count("fail") >= 285  # 95 %
    assert outcomes.count("pass") == 0


def test_a_slow_down_of_just_what_is_tolerated_is_rarely_red_and_rarely_green() -> None:
    """Either is an error of one end of the interval, 2.5 %, with what memory adds to it; red needs it twice."""
    rng = np.random.default_rng(47)
    outcomes = [gate(rng, 1 + SLOWDOWN_MAX) for _ in range(150)]
    assert outcomes.count("fail") <= 8
    assert outcomes.count("pass") <= 45


@pytest.mark.parametrize(
    ("value", "low", "high", "outcome", "rounds"),
    [
        (1.0, 0.99, 1.01, "pass", 0),
        (0.8, 0.7, 0.9, "pass", 0),
        (1.05, 1.03, 1.07, "fail", 0),
        (1.0, 0.96, 1.04, "inconclusive", 150),
        (1.05, 1.01, 1.09, "inconclusive", 39),
        (1.02, 1.0, 1.04, "inconclusive", 999_950),
    ],
)
def test_the_interval_decides_and_says_how_many_rounds_would(value: float, low: float, high: float, outcome: str, rounds: int) -> None:
    found, needs = judge_ratio(LatencyRatio(value, low, high, 0.95, 50), 0.02)
    assert found == outcome
    assert needs == pytest.approx(rounds, abs=1)


def test_red_needs_two_runs_that_agree() -> None:
    rng = np.random.default_rng(53)
    slow, again, equal = turns(rng, 1.1), turns(rng, 1.1), turns(rng, 1.0)
    red = verdict([slow, again])
    assert (red.outcome, red.figures["rounds"]) == ("fail", ROUNDS)
    assert "and a second run found +" in red.text
    doubt = verdict([slow, equal])
    assert doubt.outcome == "inconclusive"
    assert "but a second run found " in doubt.text
    assert verdict([slow]).outcome == "inconclusive"
    assert verdict([equal]).outcome == "pass"
    assert verdict([slow], slowdown_max=0.2).outcome == "pass"


def test_what_a_report_holds_of_it() -> None:
    rng = np.random.default_rng(59)
    runs = [turns(rng, 1.1), turns(rng, 1.1)]
    found = regression_findings(runs, CURRENT, OTHER, slowdown_max=0.02, cores=4, simulated=False)
    assert [m.name for m in found.measurements[:3]] == ["regression_invoke_p50", "regression_other_invoke_p50", "regression_ratio"]
    assert found.samples["regression_invoke_ns"] == tuple(runs[0].series(CURRENT))
    assert len(found.states) == 6
    assert found.environment["against"] == OTHER


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("throttled", {"throttled": "0x4"}),
        ("busy", {"load1": 3.0}),
    ],
)
def test_a_board_that_broke_a_rule_makes_it_invalid(rule: str, change: dict[str, Any]) -> None:
    data = answer(np.random.default_rng(61), 1.1)
    data["states"] = [{**STATE, **change}] * 3
    found = verdict([msgspec.convert(data, Turns)])
    assert (found.outcome, list(found.figures)) == ("invalid", [rule])


def test_an_emulated_board_or_one_that_never_ran_steadily_is_invalid() -> None:
    data = answer(np.random.default_rng(67), 1.0)
    assert list(verdict([msgspec.convert(data, Turns)], simulated=True).figures) == ["simulated"]
    data["releases"][1]["warmup"]["steady"] = False
    assert list(verdict([msgspec.convert(data, Turns)]).figures) == ["unsteady"]


def test_too_few_rounds_are_inconclusive() -> None:
    assert verdict([turns(np.random.default_rng(71), 1.5, rounds=7)]).outcome == "inconclusive"


@pytest.mark.parametrize("harm", ["order", "rounds", "lengths", "type", "extra"])
def test_an_answer_that_is_none_is_refused(harm: str) -> None:
    data = answer(np.random.default_rng(73), 1.0, rounds=9)
    if harm == "order":
        data["releases"].reverse()
    elif harm == "rounds":
        for one in data["releases"]:
            one["invoke_ns"].pop()
    elif harm == "lengths":
        data["releases"][0]["invoke_ns"] *= 2
    elif harm == "type":
        data["releases"][0]["invoke_ns"][0] = 0
    else:
        data["word"] = 1
    with pytest.raises(DeviceError, match=r"board: the answer to probe\.regression is"):
        parse_turns(data, (OTHER, CURRENT), "board")
