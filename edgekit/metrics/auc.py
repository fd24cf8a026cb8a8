"""Area under the ROC curve, of two classes or of each against the rest. Decoded outputs hold ``scores``; the truth is ``label``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgekit.errors import InputError
from edgekit.metrics import Array, Metric, Statistics, Total, class_numbers

__all__ = ["AUC"]

_CLASSES_MAX = 1000


def _scored(outputs: Mapping[str, Array], truth: Mapping[str, Array]) -> Array:
    scores = outputs["scores"].ravel().astype(np.float64)
    label = float(truth["label"])
    if len(scores) > _CLASSES_MAX:
        raise InputError(f"auc is for up to {_CLASSES_MAX} classes, the output scores {len(scores)}", fix='metric = "top1" or "f1"')
    if not 0 <= label < max(2, len(scores)):
        raise InputError(f"its label is {label:g}, the output scores classes 0 to {max(2, len(scores)) - 1}", fix="labels count from 0")
    if len(scores) <= 2:
        # Two scores rank samples by their difference, as the probability of class 1 made of them would.
        return np.array([[label, scores[-1] - (scores[0] if len(scores) == 2 else 0.0)]])
    return np.array([[label, *scores]])


def _total(statistics: Statistics) -> Total:
    """Return the chance that a sample of the class scores above one of the rest, ties counted half; the mean over the classes.

    Fawcett, Pattern Recognition Letters 27, 2006, 861-874; Hand and Till, Machine Learning 45, 2001, of one against the rest. Classes of
    which there is no sample, or none of the rest, have no curve and are left out.
    """
    labels, scores = class_numbers(statistics.values[:, 0]), statistics.values[:, 1:]
    columns = [(1, 0)] if scores.shape[1] == 1 else [(number, number) for number in range(scores.shape[1])]
    curves = [_curve(labels == positive, scores[:, column]) for positive, column in columns]

    def total(weights: Array) -> float:
        areas = [area for curve in curves if (area := curve(weights)) == area]
        return float(np.mean(areas)) if areas else float("nan")

    return total


def _curve(positive: Array, scores: Array) -> Total:
    order = np.argsort(scores, kind="stable")
    positive, starts = positive[order], np.flatnonzero(np.diff(scores[order], prepend=-np.inf))

    def area(weights: Array) -> float:
        drawn = weights[order]
        true, false = np.add.reduceat(drawn * positive, starts), np.add.reduceat(drawn * ~positive, starts)
        pairs = float(true.sum() * false.sum())
        return float(true @ (np.cumsum(false) - false / 2)) / pairs if pairs else float("nan")

    return area


AUC = Metric("auc", "class", _scored, _total, chance=lambda _: 0.5)
