"""Metrics of classes: top-1, top-5 and F1. Decoded outputs hold ``scores``, one for each class; the truth is ``label``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgekit.errors import InputError
from edgekit.metrics import Array, Metric, Statistics, Total, class_numbers, ratio, ratio_total

__all__ = ["F1", "TOP1", "TOP5"]


def _top(count: int) -> Metric:
    def statistic(outputs: Mapping[str, Array], truth: Mapping[str, Array]) -> Array:
        scores, label = outputs["scores"].ravel(), _label(outputs, truth)
        # Of equal scores the first class counts as the likelier, as with argmax: constant scores must not be right everywhere.
        before = np.count_nonzero(scores > scores[label]) + np.count_nonzero(scores[:label] == scores[label])
        return ratio(float(before < count))

    return Metric(f"top{count}", "class", statistic, ratio_total, is_share=True, chance=lambda classes: min(1.0, count / classes))


def _predicted(outputs: Mapping[str, Array], truth: Mapping[str, Array]) -> Array:
    return np.array([[_label(outputs, truth), outputs["scores"].argmax()]], np.float64)


def _label(outputs: Mapping[str, Array], truth: Mapping[str, Array]) -> int:
    label, classes = int(truth["label"]), outputs["scores"].size
    if not 0 <= label < classes:
        raise InputError(f"its label is {label}, the output scores classes 0 to {classes - 1}", fix="labels count from 0")
    return label


def _f1_total(statistics: Statistics) -> Total:
    """Return the mean of 2 tp / (2 tp + fp + fn) over the classes that occur in truth or predictions, as scikit-learn's ``macro`` does."""
    true, predicted = (class_numbers(column) for column in statistics.values.T)
    right, classes = true == predicted, int(statistics.values.max(initial=0)) + 1

    def total(weights: Array) -> float:
        hits = np.bincount(true[right], weights[right], classes)
        all_of = np.bincount(true, weights, classes) + np.bincount(predicted, weights, classes)
        seen = all_of > 0
        return float(np.mean(2 * hits[seen] / all_of[seen])) if seen.any() else float("nan")

    return total


TOP1, TOP5 = _top(1), _top(5)
F1 = Metric("f1", "class", _predicted, _f1_total)
