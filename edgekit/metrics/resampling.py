"""How far a metric's difference between two models can be trusted: the paired bootstrap over samples.

``accuracy`` judges with it every metric that is not a plain share of right samples. A sample drawn twice counts twice, in both
models at once; a metric is a function of such counts (`edgekit.metrics.Metric.total`), so memory does not grow with the rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, Literal

import msgspec
import numpy as np

from edgekit.comparison import samples_needed, tango

__all__ = ["ROUNDS", "Drawn", "PairedVerdict", "draw", "interval", "judge"]

Array = np.ndarray[Any, np.dtype[Any]]

ROUNDS = 1000
"""A quantile at 5 % rests on 50 rounds, and differs by under a tenth of the interval from that of endless many: Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, section 14.3, ask for 1,000."""

_GROUPS_MAX = 100
_SEED = 20210
_POWER = 0.80


class Drawn(msgspec.Struct, frozen=True):
    """A figure with what drawing its samples again makes of it.

    Attributes
    ----------
    value
        Of the samples as they are.
    rounds
        Of each bootstrap sample, [rounds]; NaN where it has no value.
    left_out
        Of all samples but one group, [groups].
    """

    value: float
    rounds: Array
    left_out: Array

    def minus(self, other: Drawn) -> Drawn:
        """Return the difference of two figures of the same samples: their draws are the same."""
        return Drawn(self.value - other.value, self.rounds - other.rounds, self.left_out - other.left_out)

    def turned(self) -> Drawn:
        """Return the figure with its sign turned."""
        return Drawn(-self.value, -self.rounds, -self.left_out)


def draw(figure: Callable[[Array], float], n: int, rounds: int = ROUNDS) -> Drawn:
    """Draw n samples with replacement, again and again; the draws are the same at each call with the same n.

    Parameters
    ----------
    figure
        A function of how often each sample counts, [n].

    Raises
    ------
    ValueError
        n is 0.
    """
    if n < 1:
        raise ValueError("there is no sample to draw")
    random = np.random.default_rng([_SEED, n])
    values = np.array([figure(np.bincount(random.integers(0, n, n), minlength=n).astype(np.float64)) for _ in range(rounds)])
    groups = np.arange(n) % min(n, _GROUPS_MAX)
    left_out = np.array([figure((groups != group).astype(np.float64)) for group in range(int(groups.max()) + 1)]) if n > 1 else np.zeros(0)
    return Drawn(figure(np.ones(n)), values, left_out)


def interval(drawn: Drawn, confidence: float = 0.95) -> tuple[float, float]:
    """Return the two-sided interval that is corrected for bias and skew (BCa).

    B. Efron, J. Am. Stat. Assoc. 82, 1987, 171-185. The acceleration comes from leaving out groups of samples, of which there are
    up to 100, instead of each sample.
    """
    rounds, left_out = drawn.rounds[np.isfinite(drawn.rounds)], drawn.left_out[np.isfinite(drawn.left_out)]
    if not len(rounds) or math.isnan(drawn.value):
        return math.nan, math.nan
    normal = NormalDist()
    # Ties count half: where few samples decide, many draws give the very value.
    below = (np.count_nonzero(rounds < drawn.value) + np.count_nonzero(rounds == drawn.value) / 2) / len(rounds)
    bias = normal.inv_cdf(min(max(below, 1 / (2 * len(rounds))), 1 - 1 / (2 * len(rounds))))
    pull = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    spread = float((pull**2).sum())
    skew = float((pull**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    ends = []
    for share in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = bias + normal.inv_cdf(share)
        ends.append(float(np.quantile(rounds, normal.cdf(bias + z / max(1 - skew * z, 1e-3)))))
    return ends[0], ends[1]


class PairedVerdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether an artifact is worse than float by less than a margin.

    Attributes
    ----------
    delta, low, high
        Artifact minus float, turned so that a loss is negative, and its one-sided bounds.
    needs
        How many more samples to expect before the gate decides; 0 when it has.
    """

    outcome: Literal["pass", "fail", "inconclusive"]
    n: int
    delta: float
    low: float
    high: float
    margin: float
    confidence: float
    needs: int


def judge(drawn: Drawn, n: int, margin: float, confidence: float = 0.95) -> PairedVerdict:
    """Judge a paired difference, a loss being negative, as `edgekit.comparison.non_inferiority` does a share.

    Draws know nothing of what no sample shows: a whole loss in a few of all samples, which n of them may miss. So the lower bound is
    never above that of a share of which no sample changed.
    """
    low, high = interval(drawn, 2 * confidence - 1)
    low = min(low, tango(0, 0, n, 2 * confidence - 1)[0])
    if low > -margin or high < -margin:
        return PairedVerdict("pass" if low > -margin else "fail", n, drawn.value, low, high, margin, confidence, 0)
    normal = NormalDist()
    variance = n * float(np.nanvar(drawn.rounds))
    z = normal.inv_cdf(confidence) + normal.inv_cdf(_POWER)
    total = z * z * variance / margin**2
    if total <= n:
        # Enough for a true difference of zero, so it is not zero: plan for the one seen instead, as `non_inferiority` does.
        total = z * z * variance / max(abs(drawn.value + margin), margin / 20) ** 2
    needed = max(math.ceil(total), samples_needed(0.0, margin, confidence))
    return PairedVerdict("inconclusive", n, drawn.value, low, high, margin, confidence, max(1, needed - n))
