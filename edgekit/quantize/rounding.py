"""Round a layer's rows so that its outputs change least, not its weights. Called by ``recover``.

Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers" (algorithm 1): taps are rounded one after another, and those still to come make up for the
error in the direction that the inputs' second moments give. Here the moments are about the mean where a
bias correction takes the mean's part, and rows of many groups (depthwise) go through at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.graph import Array
from edgekit.plan import INT8_MAX

__all__ = ["nearest", "round_rows"]

DAMPING = 0.01
"""Share of the mean second moment added to all of them: the paper's."""

DAMPING_PER_DRAW = 0.5
"""Further share for moments of few patches, times taps per patch: what chance made of them is smoothed out. ``docs/benchmarks.md``."""

_LAZY = 64  # columns rounded before the rest is updated by one matrix product (the paper, "lazy batch-updates")


def nearest(rows: Array, scales: Array) -> Array:
    """Return the nearest values on the int8 grid: rows [groups, outputs, taps], scales [groups, outputs]."""
    steps = scales[..., None]
    rounded: Array = np.clip(np.rint(rows / steps), -INT8_MAX, INT8_MAX) * steps
    return rounded


def round_rows(rows: Array, scales: Array, moments: Sequence[Array], cuts: Sequence[slice], count: int) -> Array:
    """Return the rows on the int8 grid with the least output error that the method finds.

    A row for which it finds none better than ``nearest`` is rounded to nearest.

    Parameters
    ----------
    rows
        float64 [groups, outputs, taps].
    scales
        float64 [groups, outputs].
    moments
        Second moments of the patches, [groups, block, block] per stretch of the row.
    cuts
        These stretches.
    count
        How many patches the moments are of.
    """
    plain = nearest(rows, scales)
    rounded = np.empty_like(rows)
    for moment, cut in zip(moments, cuts, strict=True):
        rounded[..., cut] = _gptq(rows[..., cut], scales, *_factors(moment, count))
    better = _output_error(rounded - rows, moments, cuts) < _output_error(plain - rows, moments, cuts)
    return np.where(better[..., None], rounded, plain)


def _output_error(errors: Array, moments: Sequence[Array], cuts: Sequence[slice]) -> Array:
    """Return the expected square of errors [groups, outputs, taps] times the patch, stretch by stretch."""
    total: Array = np.zeros(errors.shape[:2])
    for moment, cut in zip(moments, cuts, strict=True):
        part = errors[..., cut].astype(np.float32)
        total += ((part @ moment.astype(np.float32)) * part).sum(axis=-1, dtype=np.float64)
    return total


def _factors(moment: Array, count: int) -> tuple[Array, Array]:
    """Return the order of the taps, [groups, taps], and what GPTQ calls the Cholesky form of the inverse: inverse = factor^T factor."""
    taps = moment.shape[1]
    variance = np.einsum("gii->gi", moment)
    level = variance.mean(axis=1, keepdims=True)
    damping = DAMPING + DAMPING_PER_DRAW * taps / count
    # Where nothing varies any rounding is as good as any other; 1 keeps the inverse defined.
    damped = moment + np.eye(taps) * np.where(level > 0.0, damping * level, 1.0)[..., None]
    # Largest first: the paper's code, "act-order".
    order = np.argsort(-variance, axis=1, kind="stable")
    damped = np.take_along_axis(np.take_along_axis(damped, order[:, :, None], 1), order[:, None, :], 2)
    return order, np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1).astype(np.float32)


def _gptq(rows: Array, scales: Array, order: Array, factor: Array) -> Array:
    groups, outputs, taps = rows.shape
    rest = np.take_along_axis(rows, order[:, None, :], 2).astype(np.float32)
    steps = scales.astype(np.float32)
    levels = np.empty_like(rest)
    for first in range(0, taps, _LAZY):
        last = min(first + _LAZY, taps)
        errors = np.empty((groups, outputs, last - first), np.float32)
        for tap in range(first, last):
            nearby = np.clip(np.rint(rest[..., tap] / steps), -INT8_MAX, INT8_MAX)
            levels[..., tap] = nearby
            error = (rest[..., tap] - nearby * steps) / factor[:, tap, tap, None]
            rest[..., tap:last] -= error[..., None] * factor[:, None, tap, tap:last]
            errors[..., tap - first] = error
        if last < taps:
            rest[..., last:] -= errors @ factor[:, first:last, last:]
    back = np.argsort(order, axis=1, kind="stable")
    rounded: Array = np.take_along_axis(levels, back[:, None, :], 2).astype(np.float64) * scales[..., None]
    return rounded
