"""The arithmetic of bench/quantization, and the conversion one of its models goes through."""

from __future__ import annotations

import numpy as np

from bench.quantization.score import score


def test_score_counts_what_changed_and_what_is_right() -> None:
    reference = np.array([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0], [0.0, 9.0]], np.float32)
    got = np.array([[9.0, 0.0], [0.0, 9.0], [0.0, 9.0], [9.0, 0.0]], np.float32)
    judged = score(reference, got, np.array([0, 0, 0, 1]))
    assert (judged.samples, judged.float_top1, judged.top1, judged.disagreement) == (4, 75.0, 25.0, 50.0)
