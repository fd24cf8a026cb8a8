"""What may be concluded from a series of latencies: percentiles with bounds, correlation, drift.

``latency`` turns a device's raw samples into measurements with these; ``comparison`` holds the
statistics of two models on the same samples. Nothing here knows a report or a device.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "PERCENTILES",
    "LatencyRatio",
    "LatencySummary",
    "PercentileBound",
    "drift",
    "effective_count",
    "fewest_samples",
    "latency_ratio",
    "percentile_bound",
    "summary",
]

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}

_DRIFT_BLOCKS = 128
"""Points of the drift estimate: 8,128 pairs, a few milliseconds."""

_Z_99 = 2.5758293035489004
"""Standard normal quantile of 0.995: a two-sided 99 % interval."""


_ROUNDS_MIN = 8
"""Fewer rounds give a bootstrap no interval worth the name: our own choice, 6,435 different resamples."""

_RESAMPLES = 4000
"""Ends of a 95 % interval then have 100 resamples beyond them."""


class PercentileBound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One percentile of a series, and how sure it is.

    Attributes
    ----------
    estimate_ns
        Nearest rank: the smallest sample with at least the fraction p at or below it.
    lower_ns, upper_ns
        One-sided bounds, each holding with the confidence asked; None with too few samples.
    needs
        How many more samples until there is an upper bound; 0 when there is one.
    """

    estimate_ns: int
    lower_ns: int | None
    upper_ns: int | None
    needs: int


class LatencySummary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A series of latencies in nanoseconds. Outliers are never clipped.

    Attributes
    ----------
    n_eff
        How many independent samples it is worth (``effective_count``).
    cov
        Coefficient of variation: standard deviation / mean.
    lag1
        Correlation of neighbours.
    drift, drift_low, drift_high
        Change from the first to the last sample as a fraction of the median, with its 99 % interval.
    """

    n: int
    n_eff: float
    min_ns: int
    max_ns: int
    mean_ns: float
    cov: float
    lag1: float
    drift: float
    drift_low: float
    drift_high: float
    percentiles: dict[str, PercentileBound]


def _tail_count(n: int, rate: float, confidence: float) -> int:
    """Return the largest t with P[Bin(n, rate) <= t] <= 1 - confidence, or -1.

    Exact, in the logarithm: one ``lgamma`` anchor and the ratio of neighbouring terms from there.
    What lies below the anchor, 12 standard deviations and 40 counts under the mean, is under 1e-15.
    """
    mean = n * rate
    start = max(0, int(mean - 12 * math.sqrt(mean * (1 - rate)) - 40))
    k = np.arange(start + 1, int(mean) + 1, dtype=np.float64)
    anchor = (
        math.lgamma(n + 1) - math.lgamma(start + 1) - math.lgamma(n - start + 1) + start * math.log(rate) + (n - start) * math.log1p(-rate)
    )
    ratios = np.log((n - k + 1) / k) + math.log(rate) - math.log1p(-rate)
    log_cdf = np.logaddexp.accumulate(anchor + np.concatenate(([0.0], np.cumsum(ratios))))
    below = int(np.searchsorted(log_cdf, math.log(1 - confidence), side="right"))
    return start + below - 1


def fewest_samples(p: float, confidence: float = 0.99) -> int:
    """Return how many independent samples give the p-quantile an upper bound at all.

    The smallest n with P[Bin(n, 1-p) <= 1] <= 1 - confidence: n(1) of ``percentile_bound``.
    """
    rate, log_alpha = 1 - p, math.log(1 - confidence)
    enough = int(10 * (1 - log_alpha) / rate) + 2
    return bisect_left(range(enough), True, lo=1, key=lambda n: (n - 1) * math.log1p(-rate) + math.log(p + n * rate) <= log_alpha)


def percentile_bound(
    sorted_ns: Sequence[int] | NDArray[np.int64], p: float, confidence: float = 0.99, n_eff: float | None = None
) -> PercentileBound:
    """Bound the p-quantile without assuming any distribution.

    The rule is MLPerf LoadGen's early stopping (loadgen/early_stopping.cc; MLPerf Inference Rules,
    appendix "Early Stopping Criterion"): among q samples take the largest t >= 1 with n(t) <= q,
    where n(t) = h(t) + t and h(t) is the smallest h with P[Bin(h+t, 1-p) <= t] <= 1 - confidence;
    ``sorted[q-t]`` is the bound. As that probability falls with h, n(t) <= q says the same as
    P[Bin(q, 1-p) <= t] <= 1 - confidence. The lower bound is the mirror image. Both give away one
    rank against the tightest exact bound, as LoadGen does.

    Parameters
    ----------
    sorted_ns
        All samples in ascending order.
    p
        The quantile as a fraction, 0 < p < 1.
    n_eff
        Independent samples the series is worth, at most its length (the default). The rank is
        found for that many and scaled back to the series.

    Raises
    ------
    ValueError
        There is no sample.
    """
    n = len(sorted_ns)
    if n == 0:
        raise ValueError("a percentile needs at least one sample")
    q = n if n_eff is None else max(1, min(n, int(n_eff)))
    above, below = _tail_count(q, 1 - p, confidence), _tail_count(q, p, confidence)
    needs = max(1, math.ceil(fewest_samples(p, confidence) * n / q) - n) if above < 1 else 0
    return PercentileBound(
        estimate_ns=int(sorted_ns[max(0, math.ceil(p * n - 1e-9) - 1)]),
        lower_ns=int(sorted_ns[below * n // q - 1]) if below >= 1 else None,
        upper_ns=int(sorted_ns[n - above * n // q]) if above >= 1 else None,
        needs=needs,
    )


def _lag1(samples: NDArray[np.float64]) -> float:
    """Return the correlation of neighbours; 0 for a constant series."""
    centred = samples - samples.mean()
    power = float(centred @ centred)
    return float(centred[:-1] @ centred[1:]) / power if power > 0 else 0.0


def effective_count(samples: Sequence[float] | NDArray[np.generic]) -> float:
    """Return how many independent samples a series is worth, between 1 and its length.

    n (1-r) / (1+r) with r the lag-1 autocorrelation: exact for the mean of a first-order
    autoregression (Bayley and Hammersley, J. R. Stat. Soc. Suppl. 8, 1946, 184-197).
    """
    values = np.asarray(samples, dtype=np.float64)
    r = _lag1(values)
    return max(1.0, min(float(len(values)), len(values) * (1 - r) / (1 + r)))


def drift(samples: Sequence[float] | NDArray[np.generic]) -> tuple[float, float, float]:
    """Return (change, low, high): first to last sample as a fraction of the median.

    The Theil-Sen slope with Sen's 99 % interval (P. K. Sen, J. Am. Stat. Assoc. 63, 1968,
    1379-1389) over the medians of up to 128 blocks, so that every sample counts and a long run is
    as quick as a short one. Under 7 samples that interval has no ends, and the answer is
    (0, 0, 0).
    """
    values = np.asarray(samples, dtype=np.float64)
    median = float(np.median(values))
    if len(values) < 7 or median <= 0:
        return 0.0, 0.0, 0.0
    blocks = min(len(values), _DRIFT_BLOCKS)
    edges = np.linspace(0, len(values), blocks + 1).astype(int)
    heights = np.array([np.median(values[lo:hi]) for lo, hi in pairwise(edges)])
    centres = (edges[:-1] + edges[1:] - 1) / 2
    i, j = np.triu_indices(blocks, 1)
    slopes = np.sort((heights[j] - heights[i]) / (centres[j] - centres[i]))
    spread = _Z_99 * math.sqrt(blocks * (blocks - 1) * (2 * blocks + 5) / 18)
    low = slopes[math.floor((len(slopes) - spread) / 2) - 1]
    high = slopes[math.ceil((len(slopes) + spread) / 2)]
    run = (len(values) - 1) / median
    return float(np.median(slopes)) * run, float(low) * run, float(high) * run


def summary(samples_ns: Sequence[int] | NDArray[np.int64], confidence: float = 0.99) -> LatencySummary:
    """Summarise a series in the order it was measured; the bounds use ``effective_count``.

    Raises
    ------
    ValueError
        There is no sample.
    """
    if len(samples_ns) == 0:
        raise ValueError("a summary needs at least one sample")
    exact = np.asarray(samples_ns, dtype=np.int64)
    ordered, values = np.sort(exact), exact.astype(np.float64)
    mean, n_eff = float(values.mean()), effective_count(values)
    change, low, high = drift(values)
    return LatencySummary(
        n=len(values),
        n_eff=n_eff,
        min_ns=int(ordered[0]),
        max_ns=int(ordered[-1]),
        mean_ns=mean,
        cov=float(values.std(ddof=1)) / mean if len(values) > 1 and mean > 0 else 0.0,
        lag1=_lag1(values),
        drift=change,
        drift_low=low,
        drift_high=high,
        percentiles={name: percentile_bound(ordered, p, confidence, n_eff) for name, p in PERCENTILES.items()},
    )


class LatencyRatio(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many times as long one takes as another, with its two-sided interval, over ``rounds`` in which both took turns."""

    value: float
    low: float
    high: float
    confidence: float
    rounds: int


def latency_ratio(
    one_ns: Sequence[int] | NDArray[np.int64], other_ns: Sequence[int] | NDArray[np.int64], block_runs: int, confidence: float = 0.95
) -> LatencyRatio:
    """Compare two series that were measured in turns, a block of each in every round.

    A block counts by its median, so that an interrupt is no argument, and the ratio is that of the
    sums over the rounds. What slows the whole board down meets both in a round and cancels out. The
    interval is that of a circular block bootstrap of rounds (D. N. Politis and J. P. Romano,
    "A circular block-resampling procedure for stationary data", 1992), with blocks of the root of
    their number, as neighbours resemble each other. So few blocks give too narrow an interval: it is
    widened as Student's t is against the normal, with one degree of freedom less than there are
    blocks, and by the bias of their variance. Simulated with 12 to 150 rounds that resemble each
    other, 95 % then covers 92 to 98 %. It is the same on every call.

    Parameters
    ----------
    one_ns, other_ns
        Whole blocks, in the order of the rounds; as many of each.
    block_runs
        Runs in a block.

    Raises
    ------
    ValueError
        The series are not of the same whole blocks, or of fewer than 8 rounds, or hold no time.
    """
    rounds = len(one_ns) // block_runs
    if len(one_ns) != len(other_ns) or len(one_ns) != rounds * block_runs:
        raise ValueError(f"{len(one_ns)} and {len(other_ns)} runs are not the same whole blocks of {block_runs}")
    if rounds < _ROUNDS_MIN:
        raise ValueError(f"{rounds} rounds are too few to compare; {_ROUNDS_MIN} are needed")
    one, other = (np.median(np.asarray(series, np.float64).reshape(rounds, block_runs), axis=1) for series in (one_ns, other_ns))
    if other.min() <= 0:
        raise ValueError("a block took no time")
    length = math.ceil(math.sqrt(rounds))
    starts = np.random.default_rng(0).integers(0, rounds, (_RESAMPLES, math.ceil(rounds / length)))
    drawn = ((starts[:, :, None] + np.arange(length)) % rounds).reshape(_RESAMPLES, -1)[:, :rounds]
    ratios = one[drawn].sum(axis=1) / other[drawn].sum(axis=1)
    value, blocks = float(one.sum() / other.sum()), rounds / length
    wider = _student(confidence, blocks - 1) / _student(confidence, math.inf) * math.sqrt(blocks / (blocks - 1))
    low, high = (value + wider * (float(end) - value) for end in np.quantile(ratios, [(1 - confidence) / 2, (1 + confidence) / 2]))
    return LatencyRatio(value, max(0.0, low), high, confidence, rounds)


def _student(confidence: float, freedom: float) -> float:
    """Return the two-sided quantile of Student's t (Abramowitz and Stegun, 26.7.5, to the second order)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
