"""Choose the interval of an activation from its histogram: four methods, one table, and the best of them.

``calibrate`` calls ``choose_range``; ``bench/ranges.py`` measures the methods against each other,
which is what the default rests on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from edgekit.errors import UsageError
from edgekit.graph import Array
from edgekit.plan import ASYMMETRIC, INT8_MAX, INT8_MIN, Range, Scheme
from edgekit.quantize.histogram import Histogram

__all__ = ["DEFAULT_METHOD", "METHODS", "Method", "choose_range"]

Method = Literal["auto", "minmax", "percentile", "entropy", "mse"]

METHODS: tuple[Method, ...] = get_args(Method)

DEFAULT_METHOD: Method = "auto"
"""Best output SQNR of the five on four networks, or within 0.15 dB of it: ``docs/benchmarks.md``."""

PERCENTILE = 99.99
"""Share of the values inside the range. Wu et al. 2020, "Integer Quantization for Deep Learning
Inference: Principles and Empirical Evaluation", table 5: of 99.9, 99.99, 99.999 and 99.9999 the
one with the best worst case on convolutional networks."""

_STEPS = 64  # candidate bounds per side and sweep
_SWEEPS = 3


class _Grid(NamedTuple):
    """The integers 0..top, of which ``zero`` stands for 0.0."""

    scale: float
    zero: float
    top: int

    def levels(self, values: Array) -> Array:
        """Return the integers that values are rounded to."""
        found: Array = np.clip(np.rint(values / self.scale) + self.zero, 0, self.top)
        return found

    def error(self, values: Array, counts: Array) -> float:
        """Return the sum of the squared errors of values, each so many times."""
        miss = values - (self.levels(values) - self.zero) * self.scale
        return float(counts @ (miss * miss))


def _grid(lo: float, hi: float, scheme: Scheme) -> _Grid:
    """Return the grid that a runtime lays over an interval that holds zero."""
    if scheme.symmetric:
        return _Grid(max(-lo, hi) / INT8_MAX, INT8_MAX, 2 * INT8_MAX)
    scale = (hi - lo) / (INT8_MAX - INT8_MIN)
    return _Grid(scale, float(np.rint(-lo / scale)), INT8_MAX - INT8_MIN)


def choose_range(histogram: Histogram, method: Method, scheme: Scheme = ASYMMETRIC, *, whole: bool = False) -> Range:
    """Return the interval ``method`` prefers for the grid of a scheme; it always holds 0.0.

    - ``minmax``: everything seen. No clipping error, coarse levels where outliers are rare.
    - ``percentile``: cuts 0.005 % of the values on either side, never past zero.
    - ``entropy``: least Kullback-Leibler divergence between the values and their 8-bit image.
    - ``mse``: least expected squared error of rounding and clipping together.
    - ``auto``: whichever of minmax, percentile and mse has the least squared error on this tensor; minmax where ``whole``.

    Parameters
    ----------
    whole
        The tensor enters or leaves the network: what is cut off there is lost to the user, however rare it is.
    """
    if method not in METHODS:
        raise UsageError(f"unknown calibration method {method!r}; there are: {', '.join(METHODS)}")
    if method == "auto":
        method, (lo, hi) = _least_error(histogram, scheme, ["minmax"] if whole else ["minmax", "percentile", "mse"])
    else:
        lo, hi = _CHOOSERS[method](histogram, scheme)
    return Range(lo=float(min(lo, 0.0)), hi=float(max(hi, 0.0)), method=method)


def _least_error(histogram: Histogram, scheme: Scheme, methods: Sequence[Method]) -> tuple[Method, tuple[float, float]]:
    centres, counts = _occupied(histogram)

    def error(method: Method) -> float:
        lo, hi = found[method]
        return _grid(lo, hi, scheme).error(centres, counts) if lo < hi else 0.0

    found = {method: _CHOOSERS[method](histogram, scheme) for method in methods}
    best = min(methods, key=error)
    return best, found[best]


def _minmax(histogram: Histogram, _: Scheme) -> tuple[float, float]:
    return min(histogram.lo, 0.0), max(histogram.hi, 0.0)


def _percentile(histogram: Histogram, _: Scheme) -> tuple[float, float]:
    """Cut the tail on each side at bin resolution; a side that zero bounds has no tail."""
    tail = histogram.total * (1.0 - PERCENTILE / 100.0) / 2.0
    counts, edges = _with_zeros(histogram)
    below = np.cumsum(counts)
    first = int(np.searchsorted(below, tail, side="right"))
    above = np.cumsum(counts[::-1])
    last = counts.size - 1 - int(np.searchsorted(above, tail, side="right"))
    return min(max(histogram.lo, float(edges[first])), 0.0), max(min(histogram.hi, float(edges[last + 1])), 0.0)


def _with_zeros(histogram: Histogram) -> tuple[Array, Array]:
    counts = histogram.counts.copy()
    if histogram.zeros:
        counts[-histogram.first] += histogram.zeros
    return counts, (histogram.first + np.arange(counts.size + 1)) * histogram.width


def _mse(histogram: Histogram, scheme: Scheme) -> tuple[float, float]:
    """Search pairs of bounds for the least squared error of the values, bin by bin.

    Clipping per channel or tensor by squared error: Banner et al. 2019, "Post-training 4-bit
    quantization of convolution networks for rapid-deployment", and Choukroun et al. 2019,
    "Low-bit Quantization of Neural Networks for Efficient Inference"; both sides are searched.
    """
    centres, counts = _occupied(histogram)
    return _search(histogram, lambda lo, hi: _grid(lo, hi, scheme).error(centres, counts), scheme)


def _entropy(histogram: Histogram, scheme: Scheme) -> tuple[float, float]:
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
        grid = _grid(lo, hi, scheme)
        used = math.ceil((hi - lo) / grid.scale)
        if end - first < min(2 * used, centres.size):
            return math.inf
        source = counts[first:end]
        reference = source.copy()
        reference[0] += counts[:first].sum()
        reference[-1] += counts[end:].sum()
        level = grid.levels(centres[first:end]).astype(np.intp)
        full = source > 0
        mass = np.bincount(level, weights=source, minlength=grid.top + 1)
        share = np.bincount(level, weights=full, minlength=grid.top + 1)
        image = np.where(full, (mass / np.maximum(share, 1.0))[level], 0.0)
        return _kl(reference, image)

    return _search(histogram, divergence, scheme)


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
    return histogram.centres[full], histogram.counts[full].astype(np.float64)


def _search(histogram: Histogram, cost: Callable[[float, float], float], scheme: Scheme) -> tuple[float, float]:
    """Minimise over pairs of bounds inside the seen interval: both ends in turn, then finer.

    A joint shrink of both ends comes first: heavy tails on both sides make a valley along which
    neither end alone gets better. Where one scale serves both sides, only the wider end moves, and the other follows.
    """
    lo, hi = min(histogram.lo, 0.0), max(histogram.hi, 0.0)
    if hi <= lo or not histogram.counts.any():
        return lo, hi
    full = (lo, hi)

    def pair(bound: float, side: int) -> tuple[float, float]:
        if scheme.symmetric:
            return max(full[0], -abs(bound)), min(full[1], abs(bound))
        return (bound, hi) if side == 0 else (lo, bound)

    wider = 0 if -lo > hi else 1
    best = cost(lo, hi)
    for factor in np.linspace(0.02, 1.0, _STEPS):
        both = pair(full[wider] * factor, wider) if scheme.symmetric else (full[0] * factor, full[1] * factor)
        found = cost(*both)
        if found < best:
            best, (lo, hi) = found, both
    reach = 0.5
    for _ in range(_SWEEPS):
        for side in (wider,) if scheme.symmetric else (0, 1):
            base = (lo, hi)[side]
            if base == 0.0:
                continue
            for factor in np.linspace(1.0 - reach, 1.0 + reach, _STEPS // 2):
                bound = base * factor
                if abs(bound) > abs(full[side]):
                    continue
                tried = pair(bound, side)
                found = cost(*tried)
                if found < best:
                    best, (lo, hi) = found, tried
        reach /= 4.0
    return lo, hi


_CHOOSERS: dict[Method, Callable[[Histogram, Scheme], tuple[float, float]]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "entropy": _entropy,
    "mse": _mse,
}
