"""Cosine similarity of vectors, as embeddings are compared. Decoded outputs hold ``scores``, the truth is ``vector``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgekit.errors import InputError
from edgekit.metrics import Array, Metric, ratio, ratio_total

__all__ = ["COSINE"]


def _cosine(outputs: Mapping[str, Array], truth: Mapping[str, Array]) -> Array:
    got, wanted = outputs["scores"].ravel().astype(np.float64), truth["vector"].ravel().astype(np.float64)
    if got.shape != wanted.shape:
        raise InputError(f"the output holds {got.size} values, the true vector {wanted.size}", fix="give vectors of the output's length")
    length = float(np.linalg.norm(got) * np.linalg.norm(wanted))
    # A vector without a direction is like no other; two of them are equal.
    return ratio(float(np.clip(got @ wanted / length, -1, 1)) if length else float(np.array_equal(got, wanted)))


COSINE = Metric("cosine", "vector", _cosine, ratio_total)
