"""Choose the interval of an activation from its histogram: four methods, one table.

``calibrate`` calls ``choose_range``; ``bench/ranges.py`` measures the methods against each other,
which is what the default rests on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from edgekit.errors import UsageError
from edgekit.graph import Array
from edgekit.plan import ASYMMETRIC, INT8_MAX, Range, Scheme
from edgekit.quantize.histogram import Histogram

__all__ = ["DEFAULT_METHOD", "METHODS", "Method", "choose_range"]

Method = Literal["minmax", "percentile", "entropy", "mse"]

METHODS: tuple[Method, ...] = get_args(Method)

DEFAULT_METHOD: Method = "mse"
"""The one with the best worst case in ``docs/benchmarks.md``: best output SQNR on three of four networks,
and on the fourth (resnet20, where entropy and minmax are better) 0.5 dB behind; minmax is up to 0.7,
entropy 1.6 and percentile 2.1 dB behind the best."""

PERCENTILE = 99.99
"""Share of the values inside the range. Wu et al. 2020, "Integer Quantization for Deep Learning
Inference: Principles and Empirical Evaluation", table 5: of 99.9, 99.99, 99.999 and 99.9999 the
one with the best worst case on convolutional networks."""

_LEVELS = 256
_STEPS = 64  # candidate bounds per side and sweep
_SWEEPS = 3
_LEAST_BINS = 2 * _LEVELS


Grid = Callable[[float, float], tuple[float, float]]
"""Gives scale and zero point, in 0..255, of the levels that a runtime lays over an interval."""


def choose_range(histogram: Histogram, method: Method, scheme: Scheme = ASYMMETRIC) -> Range:
    """Return the interval ``method`` prefers; it always holds 0.0.

    The last two know what levels the scheme makes of an interval: symmetric ones are twice as far apart where
    values have one sign, so that clipping pays earlier.

    - ``minmax``: everything seen. No clipping error, coarse levels where outliers are rare.
    - ``percentile``: cuts 0.005 % of the values on either side, never past zero.
    - ``entropy``: least Kullback-Leibler divergence between the values and their 8-bit image.
    - ``mse``: least expected squared error of rounding and clipping together.
    """
    chooser = _CHOOSERS.get(method)
    if chooser is None:
        raise UsageError(f"unknown calibration method {method!r}; there are: {', '.join(METHODS)}")
    lo, hi = chooser(histogram, _symmetric_grid if scheme.symmetric else _grid)
    return Range(lo=float(min(lo, 0.0)), hi=float(max(hi, 0.0)), method=method)


def _minmax(histogram: Histogram, _levels: Grid) -> tuple[float, float]:
    return histogram.lo, histogram.hi


def _percentile(histogram: Histogram, _levels: Grid) -> tuple[float, float]:
    """Cut the tail on each side at bin resolution; a side that zero bounds has no tail."""
    tail = histogram.total * (1.0 - PERCENTILE / 100.0) / 2.0
    counts, edges = _with_zeros(histogram)
    below = np.cumsum(counts)
    first = int(np.searchsorted(below, tail, side="right"))
    above = np.cumsum(counts[::-1])
    last = counts.size - 1 - int(np.searchsorted(above, tail, side="right"))
    return max(histogram.lo, float(edges[first])), min(histogram.hi, float(edges[last + 1]))


def _with_zeros(histogram: Histogram) -> tuple[Array, Array]:
    counts = histogram.counts.copy()
    if histogram.zeros:
        counts[-histogram.first] += histogram.zeros
    return counts, (histogram.first + np.arange(counts.size + 1)) * histogram.width


def _mse(histogram: Histogram, grid: Grid) -> tuple[float, float]:
    """Search pairs of bounds for the least squared error of the values, bin by bin.

    Clipping per channel or tensor by squared error: Banner et al. 2019, "Post-training 4-bit
    quantization of convolution networks for rapid-deployment", and Choukroun et al. 2019,
    "Low-bit Quantization of Neural Networks for Efficient Inference"; both sides are searched.
    """
    centres, counts = _occupied(histogram)
    weights = counts.astype(np.float64)

    def error(lo: float, hi: float) -> float:
        scale, zero_point = grid(lo, hi)
        level = np.clip(np.rint(centres / scale) + zero_point, 0, _LEVELS - 1)
        miss = centres - (level - zero_point) * scale
        return float(weights @ (miss * miss))

    return _search(histogram, error)


def _entropy(histogram: Histogram, grid: Grid) -> tuple[float, float]:
    """Search pairs of bounds for the least Kullback-Leibler divergence.

    S. Migacz, "8-bit Inference with TensorRT", GTC 2017: clipped values count in the outermost bins
    of the reference P but not of the candidate Q, each level's mass is spread evenly over the bins
    it stands for that are not empty, and exact zeros stay out. Differences: both bounds move, the
    levels are those of the real 8-bit grid with zero on it, at least 2 bins make a level (fewer
    reproduce P for nothing), and P and Q are smoothed so that an empty bin of Q costs a finite
    amount (moving ``epsilon`` from full to empty bins, as MXNet's ``_smooth_distribution`` does).
    """
    centres, counts = histogram.centres, histogram.counts.astype(np.float64)

    def divergence(lo: float, hi: float) -> float:
        # The bins that hold the bounds are inside: a Clip piles its values up in just these.
        first = max(0, math.floor(lo / histogram.width) - histogram.first)
        end = min(centres.size, math.floor(hi / histogram.width) - histogram.first + 1)
        if end - first < min(_LEAST_BINS, centres.size):
            return math.inf
        source = counts[first:end]
        reference = source.copy()
        reference[0] += counts[:first].sum()
        reference[-1] += counts[end:].sum()
        scale, zero_point = grid(lo, hi)
        level = np.clip(np.rint(centres[first:end] / scale) + zero_point, 0, _LEVELS - 1).astype(np.intp)
        full = source > 0
        mass = np.bincount(level, weights=source, minlength=_LEVELS)
        share = np.bincount(level, weights=full, minlength=_LEVELS)
        image = np.where(full, (mass / np.maximum(share, 1.0))[level], 0.0)
        return _kl(reference, image)

    return _search(histogram, divergence)


def _kl(p: Array, q: Array) -> float:
    if not p.any() or not q.any():
        return math.inf
    p, q = _smooth(p / p.sum()), _smooth(q / q.sum())
    return float(np.sum(p * np.log(p / q)))


def _smooth(distribution: Array, epsilon: float = 1e-7) -> Array:
    empty = distribution == 0.0
    moved = epsilon * empty.sum() / max(1, (~empty).sum())
    return np.where(empty, epsilon, np.maximum(distribution - moved, epsilon))


def _occupied(histogram: Histogram) -> tuple[Array, Array]:
    full = histogram.counts > 0
    return histogram.centres[full], histogram.counts[full]


def _grid(lo: float, hi: float) -> tuple[float, float]:
    """Return (scale, zero point) of 0..255 over an interval that holds zero."""
    scale = (hi - lo) / (_LEVELS - 1)
    return scale, float(np.rint(-lo / scale))


def _symmetric_grid(lo: float, hi: float) -> tuple[float, float]:
    """Return the same of -128..127 around zero, the greater bound at 127 steps."""
    return max(-lo, hi) / INT8_MAX, _LEVELS / 2


def _search(histogram: Histogram, cost: Callable[[float, float], float]) -> tuple[float, float]:
    """Minimise over pairs of bounds inside the seen interval: both ends in turn, then finer.

    A joint shrink of both ends comes first: heavy tails on both sides make a valley along which
    neither end alone gets better.
    """
    lo, hi = min(histogram.lo, 0.0), max(histogram.hi, 0.0)
    if hi <= lo or not histogram.counts.any():
        return lo, hi
    full = (lo, hi)
    best = cost(lo, hi)
    for factor in np.linspace(0.02, 1.0, _STEPS):
        found = cost(full[0] * factor, full[1] * factor)
        if found < best:
            best, lo, hi = found, full[0] * factor, full[1] * factor
    reach = 0.5
    for _ in range(_SWEEPS):
        for side in (0, 1):
            base = (lo, hi)[side]
            if base == 0.0:
                continue
            for factor in np.linspace(1.0 - reach, 1.0 + reach, _STEPS // 2):
                bound = base * factor
                if abs(bound) > abs(full[side]):
                    continue
                pair = (bound, hi) if side == 0 else (lo, bound)
                found = cost(*pair)
                if found < best:
                    best, (lo, hi) = found, pair
        reach /= 4.0
    return lo, hi


_CHOOSERS: dict[str, Callable[[Histogram, Grid], tuple[float, float]]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "entropy": _entropy,
    "mse": _mse,
}
