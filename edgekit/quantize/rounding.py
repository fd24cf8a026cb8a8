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

_LAZY = 64  # columns rounded before the rest is updated by one matrix product (the paper, "lazy batch-updates")


def nearest(rows: Array, scales: Array) -> Array:
    """Return the nearest values on the int8 grid: rows [groups, outputs, taps], scales [groups, outputs]."""
    steps = scales[..., None]
    rounded: Array = np.clip(np.rint(rows / steps), -INT8_MAX, INT8_MAX) * steps
    return rounded


def round_rows(rows: Array, scales: Array, moments: Sequence[Array], cuts: Sequence[slice]) -> Array:
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
    """
    plain = nearest(rows, scales)
    rounded = np.empty_like(rows)
    before, after = np.zeros(scales.shape), np.zeros(scales.shape)
    for moment, cut in zip(moments, cuts, strict=True):
        rounded[..., cut] = _gptq(rows[..., cut], scales, moment)
        before += _power(plain[..., cut] - rows[..., cut], moment)
        after += _power(rounded[..., cut] - rows[..., cut], moment)
    return np.where((after < before)[..., None], rounded, plain)


def _power(errors: Array, moment: Array) -> Array:
    """Return the expected square of errors [groups, outputs, block] times the patch."""
    power: Array = ((errors @ moment) * errors).sum(axis=-1)
    return power


def _gptq(rows: Array, scales: Array, moment: Array) -> Array:
    groups, _, taps = rows.shape
    variance = np.einsum("gii->gi", moment)
    level = variance.mean(axis=1, keepdims=True)
    # Where nothing varies any rounding is as good as any other; 1 keeps the inverse defined.
    damped = moment + np.eye(taps) * np.where(level > 0.0, DAMPING * level, 1.0)[..., None]
    # Largest first: the paper's code, "act-order".
    order = np.argsort(-variance, axis=1, kind="stable")
    damped = np.take_along_axis(np.take_along_axis(damped, order[:, :, None], 1), order[:, None, :], 2)
    # Rows of `factor` are what GPTQ calls the Cholesky form of the inverse: inverse = factor^T factor.
    factor = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1).astype(np.float32)
    rest = np.take_along_axis(rows, order[:, None, :], 2).astype(np.float32)
    steps = scales.astype(np.float32)
    levels = np.empty_like(rest)
    for first in range(0, taps, _LAZY):
        last = min(first + _LAZY, taps)
        errors = np.empty((groups, rest.shape[1], last - first), np.float32)
        for tap in range(first, last):
            level_now = np.clip(np.rint(rest[..., tap] / steps), -INT8_MAX, INT8_MAX)
            levels[..., tap] = level_now
            error = (rest[..., tap] - level_now * steps) / factor[:, tap, tap, None]
            rest[..., tap:last] -= error[..., None] * factor[:, None, tap, tap:last]
            errors[..., tap - first] = error
        if last < taps:
            rest[..., last:] -= errors @ factor[:, first:last, last:]
    back = np.argsort(order, axis=1, kind="stable")
    return np.take_along_axis(levels, back[:, None, :], 2).astype(np.float64) * scales[..., None]
