"""Whether a release is slower than another: from the agent's answers to ``probe.regression`` to a verdict.

The pipeline calls ``parse_turns`` and ``slower`` on each run and ``regression_findings`` with one run, or with two where the first found
the release slower: red needs both. The answers are not trusted: they are parsed strictly and within bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from edgekit import validity
from edgekit.errors import DeviceError
from edgekit.measurement import Findings, Measurement, Outcome, Verdict
from edgekit.parse import Sha256
from edgekit.ratio import ROUNDS_MIN, LatencyRatio, latency_ratio
from edgekit.statistics import summary
from edgekit.validity import Runtime, States, Warmup, Watch, Word

__all__ = ["SLOWDOWN_MAX", "Turns", "judge_ratio", "parse_turns", "ratio_of", "regression_findings", "slower"]

SLOWDOWN_MAX = 0.02
"""Tolerated by default. A gate that is to find 5 % must tolerate less than 5 %; where in memory an artifact came to lie alone is worth
about 1 % (T. Mytkowicz et al., "Producing wrong data without doing anything obviously wrong!", ASPLOS 2009)."""

_CONFIDENCE = 0.95
"""Two-sided: each end of the interval holds at 97.5 %, and red needs the lower one twice."""

_MEASURED = frozenset({"invoke"})
_NS_PER_MS = 1e6
_ROUNDS_MAX = 1_000_000

_Series = Annotated[list[Annotated[int, msgspec.Meta(ge=1, le=86_400 * 10**9)]], msgspec.Meta(min_length=1, max_length=100_000)]


class _Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    release: Sha256
    runtime: Runtime
    delegate: Word | None
    warmup: Warmup
    invoke_ns: _Series


class Turns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run: both releases in one process, in the order in which they were loaded."""

    block_runs: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    threads: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    releases: Annotated[tuple[_Release, ...], msgspec.Meta(min_length=2, max_length=2)]
    states: States
    watch: Watch

    def series(self, release: str) -> list[int]:
        """Return the times of a release, in order."""
        return next(one.invoke_ns for one in self.releases if one.release == release)


def parse_turns(answer: Mapping[str, Any], releases: Sequence[str], address: str) -> Turns:
    """Read an answer.

    Parameters
    ----------
    releases
        The two that were asked for, in the order asked.

    Raises
    ------
    DeviceError
        It is not what this agent's should be.
    """
    try:
        turns = msgspec.convert(answer, Turns)
    except msgspec.ValidationError as error:
        raise DeviceError(f"{address}: the answer to probe.regression is malformed: {error}") from error
    counts = {len(one.invoke_ns) for one in turns.releases}
    if [one.release for one in turns.releases] != list(releases) or len(counts) > 1 or counts.pop() % turns.block_runs:
        raise DeviceError(f"{address}: the answer to probe.regression is not of whole rounds of the two releases asked for")
    return turns


def ratio_of(turns: Turns, current: str, other: str) -> LatencyRatio | None:
    """Return how many times as long the current release takes, or None where too few rounds were measured to say."""
    series = turns.series(current)
    if len(series) < ROUNDS_MIN * turns.block_runs:
        return None
    return latency_ratio(series, turns.series(other), turns.block_runs, _CONFIDENCE)


def judge_ratio(ratio: LatencyRatio, slowdown_max: float) -> tuple[Outcome, int]:
    """Judge a slow-down against what is tolerated: non-inferiority, as for accuracy.

    Pass when the ratio's upper end is at most 1 + ``slowdown_max``, fail when its lower end is above, otherwise inconclusive. That no
    difference was found would prove nothing: a short run finds none.

    Returns
    -------
    outcome, rounds
        And how many more rounds to expect until it is decided, as an interval narrows with the root of their number; 0 when it is.
    """
    limit = 1 + slowdown_max
    if ratio.high <= limit or ratio.low > limit:
        return ("pass" if ratio.high <= limit else "fail"), 0
    gap = abs(ratio.value - limit)
    half = ratio.high - ratio.value if ratio.value <= limit else ratio.value - ratio.low
    wanted = ratio.rounds * (half / gap) ** 2 if gap else math.inf
    return "inconclusive", max(1, math.ceil(min(wanted, _ROUNDS_MAX)) - ratio.rounds)


def slower(turns: Turns, current: str, other: str, slowdown_max: float) -> bool:
    """Tell whether one run by itself found the current release slower than is tolerated, so that another is to confirm it."""
    ratio = ratio_of(turns, current, other)
    return ratio is not None and judge_ratio(ratio, slowdown_max)[0] == "fail"


def regression_findings(runs: Sequence[Turns], current: str, other: str, *, slowdown_max: float, cores: int, simulated: bool) -> Findings:
    """Judge one run, or the first and the one that was to confirm it.

    Parameters
    ----------
    runs
        One, or two: red only when both found the release slower; where the second does not, it is inconclusive.
    current, other
        Digests of the release under test, and of the one it is held against.
    slowdown_max
        Tolerated, as a fraction.
    cores, simulated
        Of the board; see `edgekit.validity.broken`.
    """
    broken: dict[str, str] = {}
    for turns in runs:
        broken |= validity.broken(turns.states, cores=cores, simulated=simulated, measured=_MEASURED)
        for one in turns.releases:
            if not one.warmup.steady:
                broken["unsteady"] = f"{one.release[:12]} was not steady after {one.warmup.runs} warm-up runs in {one.warmup.seconds:.0f} s"
    rule = next(iter(broken), None)
    ratios = [ratio_of(turns, current, other) for turns in runs]
    measurements, samples = [], {}
    for number, (turns, ratio) in enumerate(zip(runs, ratios, strict=True)):
        suffix = "" if number == 0 else "_again"
        for word, release in (("", current), ("other_", other)):
            series = turns.series(release)
            samples[f"regression{suffix}_{word}invoke_ns"] = tuple(series)
            p50 = summary(series).percentiles["p50"]
            name = f"regression{suffix}_{word}invoke_p50"
            measurements.append(Measurement(name, p50.estimate_ns / _NS_PER_MS, "ms", len(series), rule is None, rule))
        if ratio is not None:
            details = {"low": ratio.low, "high": ratio.high, "confidence": ratio.confidence, "rounds": ratio.rounds}
            measurements.append(Measurement(f"regression{suffix}_ratio", ratio.value, "1", ratio.rounds, rule is None, rule, details))
    first = runs[0]
    return Findings(
        measurements=tuple(measurements),
        verdicts=(
            Verdict("regression", "invalid", "; ".join(broken.values()), broken) if broken else _verdict(ratios, other, slowdown_max),
        ),
        samples=samples,
        environment={
            "runtime": " and ".join(
                sorted({f"{one.runtime.name} {one.runtime.version or 'of unknown version'}" for one in first.releases})
            ),
            "threads": str(first.threads),
            **validity.words(first.states, first.watch),
            "against": other,
        },
        states=tuple(state for turns in runs for state in turns.states),
    )


def _verdict(ratios: Sequence[LatencyRatio | None], other: str, slowdown_max: float) -> Verdict:
    """Say in a sentence what one or two runs allow."""
    first = ratios[0]
    if first is None:
        return Verdict("regression", "inconclusive", f"fewer than {ROUNDS_MIN} rounds were measured", {"needs": ROUNDS_MIN})
    outcome, needs = judge_ratio(first, slowdown_max)
    figures: dict[str, float | int | str | bool | None] = {
        "ratio": first.value,
        "low": first.low,
        "high": first.high,
        "rounds": first.rounds,
        "slowdown_max": slowdown_max,
        "needs": needs,
    }
    seen, allowed = f"{first.value - 1:+.2%} against {other[:12]}", f"{slowdown_max:.2%} is tolerated"
    between = f"{seen}, between {first.low - 1:+.2%} and {first.high - 1:+.2%} ({first.rounds} rounds)"
    if outcome == "pass":
        return Verdict("regression", outcome, f"invoke time {seen}, at most {first.high - 1:+.2%} (97.5 % sure), {allowed}", figures)
    if outcome == "inconclusive":
        return Verdict("regression", outcome, f"invoke time {between}, {allowed}: about {needs} more rounds are needed", figures)
    second = ratios[1] if len(ratios) > 1 else None
    if second is None:
        return Verdict("regression", "inconclusive", f"invoke time {between}, {allowed}, and no second run has confirmed it", figures)
    figures |= {"again_ratio": second.value, "again_low": second.low, "again_high": second.high}
    agrees = judge_ratio(second, slowdown_max)[0] == "fail"
    again = f"a second run found {second.value - 1:+.2%}, between {second.low - 1:+.2%} and {second.high - 1:+.2%}"
    word = "and" if agrees else "but"
    return Verdict("regression", "fail" if agrees else "inconclusive", f"invoke time {between}, {allowed}; {word} {again}", figures)
