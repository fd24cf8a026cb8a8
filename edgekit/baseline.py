"""A stored report held against an older one: what changed, whether they were measured alike, and what may be concluded.

``edgekit report NEW --against OLD`` calls ``against``. One run against one run is no proof that a release is slower: what differs from
boot to boot and from process to process is in neither. So the verdict here is never red; ``edgekit probe regression`` can be.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from edgekit.errors import InputError, UsageError
from edgekit.measurement import Verdict
from edgekit.regression import SLOWDOWN_MAX
from edgekit.report import BundleName, Report
from edgekit.statistics import PercentileBound, effective_count, percentile_bound

__all__ = ["Against", "Change", "Difference", "against", "differences"]

_SERIES = "invoke_ns"
_CONFIDENCE = 0.99
"""Of each of the two medians' bounds; of both together 98 %."""

_NS_MAX = 86_400 * 10**9

_KEYS = ("runtime", "delegate", "threads", "affinity", "governor", "gpu_clock", "power_mode", "cuda_graph", "fed")
"""What a probe writes of how it measured, and what changes a figure."""


class Difference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something in which the two runs were not alike; empty where one does not say."""

    key: str
    new: str
    old: str


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A measurement that both reports hold; ``ratio`` is new to old, None where that means nothing."""

    name: str
    unit: str
    new: float | None
    old: float | None
    ratio: float | None
    valid: bool


class Against(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The comparison.

    Attributes
    ----------
    differences
        Empty when both were measured alike; otherwise the comparison was asked for across environments.
    """

    new: BundleName
    old: BundleName
    differences: tuple[Difference, ...]
    changes: tuple[Change, ...]
    verdicts: tuple[Verdict, ...]


def differences(new: Report, old: Report) -> tuple[Difference, ...]:
    """Return in what the two were not measured alike: the board and what it said of itself, its target, and how it was measured."""
    pairs = [
        ("device", new.device.facts[:12] if new.device else "", old.device.facts[:12] if old.device else ""),
        ("application", new.bundle.name, old.bundle.name),
        ("target", new.bundle.target, old.bundle.target),
        ("simulated", str(new.simulated), str(old.simulated)),
        *((key, new.environment.get(key, ""), old.environment.get(key, "")) for key in _KEYS),
    ]
    return tuple(Difference(key, mine, others) for key, mine, others in pairs if mine != others)


def against(new: Report, old: Report, *, across: bool = False, slowdown_max: float = SLOWDOWN_MAX) -> Against:
    """Compare two reports.

    Where both hold the times of the invocation, the ratio of their medians is bounded by the bounds of each
    (`edgekit.statistics.percentile_bound`, corrected for correlation): pass when its upper end is at most 1 + ``slowdown_max``, else
    inconclusive; so it is where they do not, as nothing was judged.

    Parameters
    ----------
    across
        Compare also what was not measured alike; the verdict is marked.
    slowdown_max
        Tolerated, as a fraction.

    Raises
    ------
    UsageError
        They were not measured alike, and ``across`` is not set.
    InputError
        They have no measurement in common, or hold impossible times.
    """
    unlike = differences(new, old)
    if unlike and not across:
        listed = "; ".join(f"{one.key} {one.new or 'unknown'!r}, before {one.old or 'unknown'!r}" for one in unlike)
        raise UsageError(f"the two were not measured alike: {listed}", fix="--across compares them all the same, and says so")
    before = {(one.name, one.unit): one for one in old.measurements}
    changes = []
    for one in new.measurements:
        other = before.get((one.name, one.unit))
        if other is not None:
            ratio = one.value / other.value if one.value is not None and other.value and one.unit != "1" else None
            changes.append(Change(one.name, one.unit, one.value, other.value, ratio, one.valid and other.valid))
    if not changes:
        raise InputError("the two reports have no measurement in common", fix="compare reports of the same probe")
    return Against(new.bundle, old.bundle, unlike, tuple(changes), tuple(_verdicts(new, old, changes, unlike, slowdown_max)))


def _verdicts(new: Report, old: Report, changes: list[Change], unlike: tuple[Difference, ...], slowdown_max: float) -> list[Verdict]:
    series = [values for report in (new, old) if (values := report.samples.get(_SERIES))]
    across = f"across environments ({', '.join(one.key for one in unlike)}): " if unlike else ""
    if len(series) < 2:
        text = f"{across}the two do not both hold times of the invocation: what changed is listed, and not judged"
        return [Verdict("against", "inconclusive", text, {"across": bool(unlike)})]
    if not all(one.valid for one in changes if one.name.startswith("invoke_")):
        return [Verdict("against", "invalid", f"{across}one of the two runs was not valid", {"across": bool(unlike)})]
    mine, others = (_median(values) for values in series)
    if mine.lower_ns is None or mine.upper_ns is None or others.lower_ns is None or others.upper_ns is None:
        needs = max(mine.needs, others.needs)
        return [Verdict("against", "inconclusive", f"{across}{needs} more samples are needed for bounds", {"across": bool(unlike)})]
    ratio, low, high = mine.estimate_ns / others.estimate_ns, mine.lower_ns / others.upper_ns, mine.upper_ns / others.lower_ns
    limit = 1 + slowdown_max
    figures = {"ratio": ratio, "low": low, "high": high, "slowdown_max": slowdown_max, "across": bool(unlike)}
    seen = f"{across}the median of invoke changed by {ratio - 1:+.2%}, between {low - 1:+.2%} and {high - 1:+.2%}"
    if high <= limit:
        return [Verdict("against", "pass", f"{seen}; {slowdown_max:.2%} is tolerated", figures)]
    word = "it is slower, but" if low > limit else "that is too uncertain, and"
    why = f"{word} one run against one run proves nothing: edgekit probe regression takes turns on the board"
    return [Verdict("against", "inconclusive", f"{seen}; {slowdown_max:.2%} is tolerated: {why}", figures)]


def _median(values: Sequence[int]) -> PercentileBound:
    """Bound the median of stored times, which nobody vouches for."""
    if not 0 < min(values) <= max(values) <= _NS_MAX:
        raise InputError(f"{_SERIES} holds what is no time of an inference", fix="compare reports as edgekit has written them")
    times = np.asarray(values, dtype=np.int64)
    return percentile_bound(np.sort(times), 0.5, _CONFIDENCE, effective_count(times))
