"""The bench's own arithmetic: accuracy, disagreement, SQNR and ratios of latencies."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.quantization.feed import Array

__all__ = ["Score", "ratio", "score", "sqnr_db"]


@dataclass(frozen=True)
class Score:
    """How an artifact answers, on ``samples`` samples; the first three in percent.

    ``disagreement`` counts samples whose class is not the float model's, right or wrong: it tells models apart
    whose top-1 hardly moves.
    """

    samples: int
    float_top1: float
    top1: float
    disagreement: float
    sqnr_db: float


def score(reference: Array, got: Array, labels: Array) -> Score:
    """Judge outputs [samples, classes] against the float model's and the labels [samples]."""
    if got.shape != reference.shape or len(labels) != len(reference):
        raise ValueError(f"outputs {got.shape}, float outputs {reference.shape}, labels {labels.shape}")
    wanted, answered = reference.argmax(axis=1), got.argmax(axis=1)
    percent = 100.0 / len(labels)
    return Score(
        samples=len(labels),
        float_top1=percent * int((wanted == labels).sum()),
        top1=percent * int((answered == labels).sum()),
        disagreement=percent * int((answered != wanted).sum()),
        sqnr_db=sqnr_db(reference, got),
    )


def sqnr_db(reference: Array, got: Array) -> float:
    """Return the power of the float outputs over that of the error, all samples together."""
    signal = float(np.square(reference, dtype=np.float64).sum())
    noise = float(np.square(reference.astype(np.float64) - got).sum())
    return 10 * math.log10(signal / noise) if signal and noise else math.inf


def ratio(ours: Sequence[float], base: Sequence[float]) -> float:
    """Return the median of the ratios, round by round, of latencies whose runs were interleaved."""
    return statistics.median(a / b for a, b in zip(ours, base, strict=True))
