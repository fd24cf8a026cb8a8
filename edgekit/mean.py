"""A mean and how sure it is, of a series whose neighbours resemble each other. Probes of rates and of power use it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import msgspec
import numpy as np

from edgekit.statistics import effective_count

__all__ = ["Mean", "mean"]

_COUNT_MIN = 4.0
"""With fewer independent values the expansion of Student's t is too low by more than 1 %."""


class Mean(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mean with half the width of its two-sided interval; infinite with fewer than four independent values."""

    value: float
    half_width: float
    n: int


def mean(values: Sequence[float], confidence: float = 0.99) -> Mean:
    """Return the mean of a series with its interval by Student's t.

    A series is worth `effective_count` values: those of a rate in spans of time, or of power, resemble their neighbours.

    Raises
    ------
    ValueError
        There are no values.
    """
    if not len(values):
        raise ValueError("the mean of nothing")
    array = np.asarray(values, np.float64)
    count = effective_count(array) if len(array) > 1 else 1.0
    if count < _COUNT_MIN:
        return Mean(float(array.mean()), math.inf, len(array))
    half = _student(confidence, count - 1) * float(array.std(ddof=1)) / math.sqrt(count)
    return Mean(float(array.mean()), half, len(array))


def _student(confidence: float, freedom: float) -> float:
    """Return the two-sided quantile of Student's t (Abramowitz and Stegun, 26.7.5)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160
    return z + first / freedom + second / freedom**2 + third / freedom**3 + fourth / freedom**4
