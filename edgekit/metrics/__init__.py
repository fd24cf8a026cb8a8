"""The task metrics: one file each, and the table of them. ``edgekit.metrics.scoring`` computes them, ``edgekit.accuracy`` judges them.

A metric keeps of every sample what it needs to know of it, its *statistic*: a few rows of numbers. The total is a function of all samples'
statistics and of how often each sample counts. So a set is judged without its outputs, and drawn again (``edgekit.metrics.resampling``) at
the price of a weighted sum. To add one: its file here, its line in `METRICS`, its test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

__all__ = ["DEFAULT", "METRICS", "Array", "Metric", "Statistics", "Total", "Truth", "class_numbers", "collect", "ratio", "ratio_total"]

Array = np.ndarray[Any, np.dtype[Any]]
Total = Callable[[Array], float]
Truth = Literal["class", "text", "boxes", "mask", "vector", "any", "none"]

DEFAULT = "top1"
_CLASSES_MAX = 1 << 16

METRICS: dict[str, tuple[str, str]] = {
    "top1": ("edgekit.metrics.classes:TOP1", "Share of samples whose likeliest class is the true one."),
    "top5": ("edgekit.metrics.classes:TOP5", "Share of samples whose true class is among the five likeliest."),
    "f1": ("edgekit.metrics.classes:F1", "F1 of each class, and the mean of them."),
    "auc": ("edgekit.metrics.auc:AUC", "Area under the ROC curve: of two classes, or the mean of each against the rest."),
    "map": ("edgekit.metrics.boxes:MAP", "Mean average precision of boxes by COCO's protocol."),
    "miou": ("edgekit.metrics.masks:MIOU", "Mean over the classes of intersection over union, summed over the set."),
    "wer": ("edgekit.metrics.text:WER", "Word error rate: edits over words."),
    "cer": ("edgekit.metrics.text:CER", "Character error rate: edits over characters."),
    "cosine": ("edgekit.metrics.vectors:COSINE", "Mean cosine between the output and the true vector, or the float model's output."),
}
"""Name -> (where it is, one line for a list)."""


@dataclass(frozen=True)
class Statistics:
    """What a metric keeps of each sample.

    Attributes
    ----------
    values
        Rows of all samples, one sample's after the other's, float64 [rows, columns].
    rows
        How many of them each sample has, int64 [samples].
    """

    values: Array
    rows: Array

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def owners(self) -> Array:
        """Number of the sample that each row belongs to."""
        owners: Array = np.repeat(np.arange(len(self.rows)), self.rows)
        return owners

    def of(self, chosen: Array) -> Statistics:
        """Return those of some samples, chosen by a bool for each."""
        return Statistics(self.values[np.repeat(chosen, self.rows)], self.rows[chosen])

    def changed(self, other: Statistics) -> Array:
        """Return for each sample whether another's statistic of it differs, bool [samples]."""
        same_rows = self.rows == other.rows
        changed: Array = ~same_rows
        mine, theirs = self.of(same_rows), other.of(same_rows)
        differs = (mine.values != theirs.values).any(axis=1)
        changed[np.flatnonzero(same_rows)] = np.bincount(mine.owners, differs, minlength=len(mine)) > 0
        return changed


@dataclass(frozen=True)
class Metric:
    """One way of scoring a network.

    Attributes
    ----------
    truth
        What a sample's truth must be.
    statistic
        (decoded outputs, truth) of one sample -> its rows, float64 [rows, columns].
    total
        Statistics -> a function of how often each sample counts, [samples], to the metric. It may be NaN where nothing that is
        counted can be scored.
    is_error
        Less is better.
    is_share
        The statistic is one row, ``[right, 1]``: exact intervals of a rate hold.
    chance
        By the number of classes: what guessing gets; None where there is no such figure.
    parts
        Statistics -> further figures by name, for a report.
    """

    name: str
    truth: Truth
    statistic: Callable[[Mapping[str, Array], Mapping[str, Array]], Array]
    total: Callable[[Statistics], Total]
    is_error: bool = False
    is_share: bool = False
    chance: Callable[[int], float] | None = None
    parts: Callable[[Statistics], dict[str, float]] | None = None

    def value(self, statistics: Statistics) -> float:
        """Return the total with every sample counted once."""
        return self.total(statistics)(np.ones(len(statistics)))


def collect(rows: Sequence[Array]) -> Statistics:
    """Put the samples' rows together."""
    width = next((one.shape[1] for one in rows if len(one)), rows[0].shape[1] if rows else 1)
    values = np.concatenate([one.reshape(-1, width) for one in rows]) if rows else np.zeros((0, width))
    return Statistics(values.astype(np.float64), np.array([len(one) for one in rows], np.int64))


def class_numbers(column: Array) -> Array:
    """Return a column of statistics that numbers classes; they may come from a file, and tables are made as long as the largest says.

    Raises
    ------
    ValueError
        One is no class's number.
    """
    if not ((column >= 0) & (column < _CLASSES_MAX) & (column == np.floor(column))).all():
        raise ValueError(f"a class is numbered from 0 to {_CLASSES_MAX - 1}")
    return column.astype(np.int64)


def ratio(numerator: float, denominator: float = 1.0) -> Array:
    """Return the statistic of a metric that is a sum over a sum: of a mean, or of errors over words."""
    return np.array([[numerator, denominator]], np.float64)


def ratio_total(statistics: Statistics) -> Total:
    """Total of `ratio`: the numerators' sum over the denominators'."""
    above, below = statistics.values.T

    def total(weights: Array) -> float:
        whole = float(weights @ below)
        return float(weights @ above) / whole if whole else float("nan")

    return total
