"""Metrics of classes: top-1, top-5 and F1. Decoded outputs hold ``scores``, one for each class; the truth is ``label``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgekit.metrics import Array, Metric, Statistics, Total, ratio, ratio_total

__all__ = ["F1", "TOP1", "TOP5"]


def _top(count: int) -> Metric:
    def statistic(outputs: Mapping[str, Array], truth: Mapping[str, Array]) -> Array:
        scores, label = outputs["scores"].ravel(), int(truth["label"])
        # Of equal scores the first class counts as the likelier, as with argmax: constant scores must not be right everywhere.
        before = np.count_nonzero(scores > scores[label]) + np.count_nonzero(scores[:label] == scores[label])
        return ratio(float(before < count))

    return Metric(f"top{count}", "class", statistic, ratio_total, is_share=True, chance=lambda classes: min(1.0, count / classes))


def _predicted(outputs: Mapping[str, Array], truth: Mapping[str, Array]) -> Array:
    return np.array([[float(truth["label"]), float(outputs["scores"].argmax())]])


def _f1_total(statistics: Statistics) -> Total:
    """Return the mean of 2 tp / (2 tp + fp + fn) over the classes that occur in truth or predictions, as scikit-learn's ``macro`` does."""
    true, predicted = statistics.values.astype(np.int64).T
    right, classes = true == predicted, int(statistics.values.max(initial=0)) + 1

    def total(weights: Array) -> float:
        hits = np.bincount(true[right], weights[right], classes)
        all_of = np.bincount(true, weights, classes) + np.bincount(predicted, weights, classes)
        seen = all_of > 0
        return float(np.mean(2 * hits[seen] / all_of[seen])) if seen.any() else float("nan")

    return total


TOP1, TOP5 = _top(1), _top(5)
F1 = Metric("f1", "class", _predicted, _f1_total)
