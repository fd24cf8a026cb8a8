"""Statistics of two models on the same samples: intervals of rates, non-inferiority, SQNR.

``accuracy`` turns predictions into a verdict with these; ``quantize`` and ``runtimes`` use
``sqnr_db`` to say how far a tensor moved. Pure functions of arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike

__all__ = ["NonInferiority", "Rate", "agreement", "non_inferiority", "samples_needed", "sqnr_db", "tango", "wilson"]

_POWER = 0.80
"""Chance of passing that ``samples_needed`` plans for; customary in trial design."""


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share of n samples with its two-sided interval."""

    count: int
    n: int
    value: float
    low: float
    high: float


class NonInferiority(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether an artifact is worse than float by less than a margin.

    Attributes
    ----------
    b, c
        Samples only float got right, and only the artifact got right.
    delta, low, high
        (c - b) / n, and the one-sided bounds of it: each holds with the confidence asked.
    needs
        How many more samples to expect before the gate decides; 0 when it has.
    """

    outcome: Literal["pass", "fail", "inconclusive"]
    n: int
    b: int
    c: int
    delta: float
    low: float
    high: float
    margin: float
    confidence: float
    needs: int


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the two-sided score interval of a rate (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927, 209-212).

    Raises
    ------
    ValueError
        Not 0 <= successes <= n with n >= 1.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} of {n} is no rate")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (successes + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(successes * (n - successes) / n + z * z / 4)
    # The interval touches 0 and 1 exactly where the rate does; rounding must not say otherwise.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def agreement(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Rate:
    """Return how often two models predict the same class. Agreement is not accuracy: both may be wrong.

    Parameters
    ----------
    a, b
        Predicted classes, shape [n], of the same samples in the same order.

    Raises
    ------
    ValueError
        The shapes differ, are not [n], or n is 0.
    """
    left, right = np.asarray(a), np.asarray(b)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(f"predictions of shape {left.shape} and {right.shape} are not of the same samples")
    count = int(np.count_nonzero(left == right))
    low, high = wilson(count, len(left), confidence)
    return Rate(count, len(left), count / len(left), low, high)


def _tango_score(gains: int, losses: int, n: int, delta: float) -> float:
    """Return Tango's statistic for a true difference of ``delta``; it falls as ``delta`` grows."""
    linear = -gains - losses + (2 * n - gains + losses) * delta
    constant = -losses * delta * (1 - delta)
    loss_rate = (math.sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
    distance = gains - losses - n * delta
    variance = n * (2 * loss_rate + delta * (1 - delta))
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def tango(gains: int, losses: int, n: int, confidence: float) -> tuple[float, float]:
    """Return the two-sided score interval of (gains - losses) / n for paired samples.

    T. Tango, Statistics in Medicine 17, 1998, 891-908, equations 24-26. It keeps its level with few
    or no discordant pairs, where the Wald interval collapses to a point.

    Raises
    ------
    ValueError
        The counts are not a paired table.
    """
    if n < 1 or min(gains, losses) < 0 or gains + losses > n:
        raise ValueError(f"gains {gains} and losses {losses} among {n} pairs are no paired table")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (gains - losses) / n
    low = _bisect(lambda delta: _tango_score(gains, losses, n, delta) > z, -1.0, centre)
    high = _bisect(lambda delta: _tango_score(gains, losses, n, delta) > -z, centre, 1.0)
    return low, high


def _bisect(is_below: Callable[[float], bool], low: float, high: float) -> float:
    """Return where ``is_below`` turns false between two values, to the last bits."""
    for _ in range(60):
        middle = (low + high) / 2
        if is_below(middle):
            low = middle
        else:
            high = middle
    return (low + high) / 2


def samples_needed(disagreement: float, gap: float, confidence: float = 0.95) -> int:
    """Return how many samples decide a paired gate with a power of 80 %.

    (z_confidence + z_power)^2 psi / gap^2, about 6.18 psi / gap^2: psi is the share of samples on which
    exactly one model is right, ``gap`` how far the true difference lies from the limit
    (R. J. Connor, Biometrics 43, 1987, 207-211).
    Never under what the gate needs when no sample disagrees, z^2 (1 - gap) / gap.
    """
    z = NormalDist().inv_cdf(confidence)
    planned = (z + NormalDist().inv_cdf(_POWER)) ** 2 * disagreement / gap**2
    return math.ceil(max(planned, z * z * (1 - gap) / gap))


def non_inferiority(float_right: ArrayLike, int8_right: ArrayLike, margin: float, confidence: float = 0.95) -> NonInferiority:
    """Judge whether the artifact loses less than ``margin`` of accuracy, on the same samples.

    Pass when the one-sided lower bound of the difference lies above -margin, fail when the upper
    bound lies below it, otherwise inconclusive. A one-sided bound at 95 % is an end of the
    two-sided 90 % interval. (That a test finds no difference would prove nothing: few samples
    never do.)

    Parameters
    ----------
    float_right, int8_right
        Whether each model was right, bool [n], in the same order.
    margin
        The loss allowed as a fraction, 0 < margin < 1: 0.01 is one point.

    Raises
    ------
    ValueError
        The shapes differ, n is 0, or the margin is no fraction.
    """
    before, after = np.asarray(float_right, dtype=bool), np.asarray(int8_right, dtype=bool)
    if before.shape != after.shape or before.ndim != 1 or len(before) == 0:
        raise ValueError(f"answers of shape {before.shape} and {after.shape} are not of the same samples")
    if not 0 < margin < 1:
        raise ValueError(f"a margin is a fraction between 0 and 1, not {margin}")
    n, b, c = len(before), int(np.count_nonzero(before & ~after)), int(np.count_nonzero(~before & after))
    delta = (c - b) / n
    low, high = tango(c, b, n, 2 * confidence - 1)
    if low > -margin or high < -margin:
        return NonInferiority("pass" if low > -margin else "fail", n, b, c, delta, low, high, margin, confidence, 0)
    total = samples_needed((b + c) / n, margin, confidence)
    if total <= n:
        # Enough for a true difference of zero, so it is not zero: plan for the one seen instead.
        # A difference within 0.05 points of the limit would ask for millions; say that many.
        total = samples_needed((b + c) / n, max(abs(delta + margin), 5e-4), confidence)
    return NonInferiority("inconclusive", n, b, c, delta, low, high, margin, confidence, max(1, total - n))


def sqnr_db(reference: ArrayLike, value: ArrayLike) -> float:
    """Return 10 log10(signal power / error power); infinite when nothing moved, -inf for lost silence.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    signal, seen = np.asarray(reference, dtype=np.float64), np.asarray(value, dtype=np.float64)
    if signal.shape != seen.shape:
        raise ValueError(f"shapes {signal.shape} and {seen.shape} differ")
    power, error = float(np.sum(signal**2)), float(np.sum((signal - seen) ** 2))
    if error == 0:
        return math.inf
    return 10 * math.log10(power / error) if power > 0 else -math.inf
