"""``Histogram``: what calibration remembers of a tensor, in one pass and constant memory.

The bin width is a power of two on a grid anchored at zero, so two neighbours of one width are
exactly one bin of the next. The width follows from the smallest and largest value alone. Together
this makes the result a function of the multiset of values: batch size, order and sharding of the
data do not change one bit of it, and no first pass for the range is needed. ``observe`` fills
them, ``ranges`` reads them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgekit.errors import InputError
from edgekit.graph import Array

__all__ = ["MAX_BINS", "Histogram"]

MAX_BINS = 4096
"""At least half of them span the values: 8 to 16 bins per level of an int8 over the whole range."""

_MIN_EXPONENT = -126  # 2**126 still is a float32
_INDEX_BITS = 22  # bin numbers and their differences stay exact in float32
_LARGEST = float(np.finfo(np.float32).max)
_TOTAL_MAX = 2.0**60
_BLOCK = 1 << 16  # 256 KiB of float32: the passes over a block stay in the second-level cache


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of a float tensor's values.

    Attributes
    ----------
    exponent
        The bin width is ``2.0**exponent``.
    first
        Number of the first bin; bin ``k`` holds ``k * width <= value < (k + 1) * width``.
    counts
        int64 [bins]: values per bin, exact zeros left out. Relu puts half of all values there, which
        carry no error at any scale and would drown the rest.
    lo, hi
        Smallest and largest value, exact, also of values that were not counted.
    zeros
        How many of the counted values are exactly zero.
    """

    exponent: int
    first: int
    counts: Array
    lo: float
    hi: float
    zeros: int

    @classmethod
    def of(cls, values: Array, *, name: str = "values", bounds: tuple[float, float] | None = None) -> Histogram:
        """Count a float32 array of any shape.

        Parameters
        ----------
        name
            Speaks in the error.
        bounds
            Smallest and largest value, where ``values`` is only a part of what there is.

        Raises
        ------
        InputError
            The array is empty, or holds a NaN or an infinity.
        """
        flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
        if flat.size == 0:
            raise InputError(f"tensor {name!r} has no values")
        lo, hi = bounds or (float(flat.min()), float(flat.max()))
        if not (math.isfinite(lo) and math.isfinite(hi)):
            raise InputError(
                f"tensor {name!r} takes a value that is not finite (NaN or infinity)",
                fix="check the calibration samples and their preprocessing, and run the float model on them",
            )
        exponent = _exponent(lo, hi)
        first, last = _bin(lo, exponent), _bin(hi, exponent)
        counts, zeros = _count(flat, exponent, first, last - first + 1)
        return cls(exponent, first, counts, lo + 0.0, hi + 0.0, zeros)

    @classmethod
    def checked(cls, exponent: int, first: int, counts: Array, lo: float, hi: float, zeros: int) -> Histogram:
        """Make a histogram of parts that nobody vouches for.

        Raises
        ------
        ValueError
            `of` would not make such a one.
        """
        if not (math.isfinite(lo) and math.isfinite(hi) and -_LARGEST <= lo <= hi <= _LARGEST):
            raise ValueError(f"a histogram from {lo} to {hi}")
        wanted = _exponent(lo, hi)
        if (exponent, first, counts.size) != (wanted, _bin(lo, wanted), _bin(hi, wanted) - _bin(lo, wanted) + 1):
            raise ValueError(f"a histogram from {lo} to {hi} with {counts.size} bins from {first} of width 2**{exponent}")
        if counts.min() < 0 or zeros < 0 or float(counts.sum(dtype=np.float64)) + zeros > _TOTAL_MAX:
            raise ValueError("a histogram with impossible counts")
        return cls(exponent, first, counts, lo + 0.0, hi + 0.0, zeros)

    def __add__(self, other: Histogram) -> Histogram:
        """Return the histogram of both sets of values together: exact, commutative, associative."""
        lo, hi = min(self.lo, other.lo), max(self.hi, other.hi)
        exponent = _exponent(lo, hi)
        first, last = _bin(lo, exponent), _bin(hi, exponent)
        counts = np.zeros(last - first + 1, dtype=np.int64)
        for part in (self, other):
            start, merged = part._coarse(exponent)
            counts[start - first : start - first + merged.size] += merged
        return Histogram(exponent, first, counts, lo, hi, self.zeros + other.zeros)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        mine = (self.exponent, self.first, self.lo, self.hi, self.zeros)
        theirs = (other.exponent, other.first, other.lo, other.hi, other.zeros)
        return mine == theirs and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]  # the typeshed's way to say "unhashable": it holds an array

    @property
    def width(self) -> float:
        """Width of a bin."""
        return 2.0**self.exponent

    @property
    def total(self) -> int:
        """How many values were counted, zeros included."""
        return int(self.counts.sum()) + self.zeros

    @property
    def centres(self) -> Array:
        """float64 [bins]: the middle of each bin."""
        return (self.first + np.arange(self.counts.size) + 0.5) * self.width

    def _coarse(self, exponent: int) -> tuple[int, Array]:
        """Return (first, counts) at a width at least this one's."""
        shift = exponent - self.exponent
        if shift == 0:
            return self.first, self.counts
        first = self.first >> shift
        into = ((self.first + np.arange(self.counts.size)) >> shift) - first
        # The starts of equal runs; every run is there, so reduceat sums each without gaps.
        starts = np.flatnonzero(np.diff(into, prepend=-1))
        return first, np.add.reduceat(self.counts, starts)


def _bin(value: float, exponent: int) -> int:
    return math.floor(math.ldexp(value, -exponent))


def _exponent(lo: float, hi: float) -> int:
    """Return the finest width, as a power of two, whose bins over lo..hi are at most ``MAX_BINS``.

    Never falls when lo..hi grows, which is what makes merging exact.
    """
    largest = max(abs(lo), abs(hi))
    if largest == 0.0:
        return _MIN_EXPONENT
    exponent = max(_MIN_EXPONENT, math.frexp(largest)[1] - _INDEX_BITS)
    if hi > lo:
        exponent = max(exponent, math.frexp((hi - lo) / MAX_BINS)[1] - 1)
    while _bin(hi, exponent) - _bin(lo, exponent) >= MAX_BINS:
        exponent += 1
    return exponent


def _count(flat: Array, exponent: int, first: int, bins: int) -> tuple[Array, int]:
    """Count values per bin, and zeros apart. 2-3 ns per value in a large array."""
    size = min(_BLOCK, flat.size)
    # Scaling up is exact in float32; scaling down could round a tiny negative value to zero, one bin too high.
    real = np.float32 if exponent <= 0 else np.float64
    scale, shift = real(2.0**-exponent), real(first)
    scaled, narrow, index, equal = np.empty(size, real), np.empty(size, np.int32), np.empty(size, np.intp), np.empty(size, np.bool_)
    counts = np.zeros(bins, dtype=np.int64)
    zeros = 0
    for start in range(0, flat.size, size):
        block = flat[start : start + size]
        n = block.size
        np.multiply(block, scale, out=scaled[:n])
        np.floor(scaled[:n], out=scaled[:n])
        np.subtract(scaled[:n], shift, out=scaled[:n])
        # Two steps, each of which has a vector instruction; float to int64 has none in AVX2.
        np.copyto(narrow[:n], scaled[:n], casting="unsafe")
        np.copyto(index[:n], narrow[:n])
        counts += np.bincount(index[:n], minlength=bins)
        zeros += int(np.count_nonzero(np.equal(block, 0.0, out=equal[:n])))
    if zeros:
        counts[-first] -= zeros
    return counts, zeros
