"""The basis in which the channels of a tensor lose least when they are rounded with one scale. ``equalise`` uses it.

Rounding adds the same noise to every coordinate, as large as the widest coordinate demands, and the
readers amplify it by what they do with each. Let S be the covariance of the channels and A the sum of the
readers' rows' outer products. In coordinates z = T x, the noise that arrives is proportional to

    max_i (T S T')_ii * trace(T'^-1 A T^-1),

which is least where both matrices become the same diagonal one (Cauchy-Schwarz), T^-1 = S^1/2 V L^-1/4 with
S^1/2 A S^1/2 = V L V', and a rotation after that has made the diagonal flat. The idea of rotating
channels into each other to flatten outliers: Ashkboos et al. 2024, "QuaRot: Outlier-Free 4-Bit Inference in
Rotated LLMs"; here the basis is fitted.
"""

from __future__ import annotations

import numpy as np

from edgekit.graph import Array

__all__ = ["fitted_basis"]

_FLOOR = 1e-6
"""Least eigenvalue, of the largest: bounds T's condition, so that float32 carries it."""


def fitted_basis(covariance: Array, amplification: Array) -> tuple[Array, Array]:
    """Return T and its inverse, float64 [channels, channels] both.

    Parameters
    ----------
    covariance
        Of the channels: S.
    amplification
        What the readers make of an error in them: A.
    """
    root = _power(covariance, 0.5)
    values, vectors = _eigen(root @ amplification @ root)
    rotation = _flattening(np.sqrt(values))
    inverse = root @ (vectors * values**-0.25) @ rotation
    forward = rotation.T @ (vectors * values**0.25).T @ _power(covariance, -0.5)
    return forward, inverse


def _eigen(matrix: Array) -> tuple[Array, Array]:
    values, vectors = np.linalg.eigh(matrix)
    return np.maximum(values, max(_FLOOR * values[-1], np.finfo(np.float64).tiny)), vectors


def _power(matrix: Array, exponent: float) -> Array:
    values, vectors = _eigen(matrix)
    powered: Array = (vectors * values**exponent) @ vectors.T
    return powered


def _flattening(diagonal: Array) -> Array:
    """Return an orthogonal matrix U for which U' diag U has its trace evenly along the diagonal.

    A cosine transform mixes all with all and nearly does it; plane rotations do the rest, one for each
    channel at most (Bendel and Mickey 1978, "Population correlation matrices for sampling experiments").
    """
    size = len(diagonal)
    steps = np.arange(size)
    rotation = np.cos(np.pi * (steps + 0.5) * steps[:, None] / size) * np.sqrt(2.0 / size)
    rotation[0] /= np.sqrt(2.0)
    mixed = (rotation.T * diagonal) @ rotation
    level = diagonal.mean()
    for _ in range(size - 1):
        low, high = int(np.argmin(np.diagonal(mixed))), int(np.argmax(np.diagonal(mixed)))
        a, b, c = mixed[low, low] - level, mixed[high, high] - level, mixed[low, high]
        if b - a <= 1e-9 * level:
            break
        # The tangent that takes the lower of the two to the level: a + 2 c t + b t^2 = 0, and a < 0 < b.
        tangent = (-c + np.sqrt(max(c * c - a * b, 0.0))) / b
        cosine = 1.0 / np.hypot(1.0, tangent)
        plane = np.array([[cosine, -tangent * cosine], [tangent * cosine, cosine]])
        pair = [low, high]
        mixed[:, pair] = mixed[:, pair] @ plane
        mixed[pair] = plane.T @ mixed[pair]
        rotation[:, pair] = rotation[:, pair] @ plane
    flat: Array = rotation
    return flat
