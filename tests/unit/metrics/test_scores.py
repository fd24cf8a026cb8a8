"""From a metric's statistics of two models to figures, a verdict and its sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekit.accuracy import score_measurements, slice_measurements
from edgekit.metrics import Metric, Statistics, collect, ratio, ratio_total
from edgekit.metrics.auc import AUC
from edgekit.metrics.boxes import MAP
from edgekit.metrics.classes import TOP5
from edgekit.metrics.text import CER
from edgekit.metrics.vectors import COSINE
from edgekit.truth import boxes_truth

N = 400


def ratios(*parts: float) -> Statistics:
    return collect([ratio(parts[place % len(parts)], 10) for place in range(N)])


@pytest.mark.parametrize(
    ("metric", "after", "outcome", "words"),
    [
        (CER, (1.0, 2, 3, 0), "pass", "cer changed by +0.00% and rose by less than 0.67%"),
        (CER, (2.0, 3, 4, 1), "fail", "cer changed by +10.00% and rose by more than"),
        (CER, (0.0, 1, 2, 0), "pass", "cer changed by -7.50% and rose by less than"),
        (COSINE, (1.0, 2, 3, 1), "pass", "cosine changed by +2.50% and lost less than"),
        (COSINE, (0.5, 1, 2, 0), "fail", "cosine changed by -6.25% and lost more than"),
    ],
)
def test_a_loss_is_what_makes_the_metric_worse(metric: Metric, after: tuple[float, ...], outcome: str, words: str) -> None:
    (verdict,) = score_measurements(metric, ratios(1, 2, 3, 0), ratios(*after), accuracy_drop_max=0.01).verdicts
    assert verdict.outcome == outcome
    assert verdict.text.startswith(words)


def test_a_share_of_right_samples_has_exact_intervals() -> None:
    found = score_measurements(TOP5, collect([ratio(1)] * N), collect([ratio(0), *[ratio(1)] * (N - 1)]), accuracy_drop_max=0.01, classes=9)
    by_name = {one.name: one for one in found.measurements}
    assert [one.value for one in found.measurements] == pytest.approx([1 / N, 1, 1 - 1 / N, -1 / N])
    assert by_name["top5_float"].details["high"] == 1
    assert found.verdicts[0].figures["b"] == 1


NOTHING = {"boxes": np.ones((1, 4)), "scores": np.ones(1), "classes": np.zeros(1)}


@pytest.mark.parametrize(
    ("metric", "before", "after", "words"),
    [
        (MAP, [MAP.statistic(NOTHING, boxes_truth(np.zeros((0, 4)), np.zeros(0)))] * 3, None, "map has no value"),
        (AUC, [np.array([[place % 2, 0.5]]) for place in range(8)], None, "auc 50.00%, which is no better than chance"),
        (CER, [ratio(10, 10)] * 4, None, "cer 100.00%, which is no better than chance"),
        (Metric("m:own", "any", lambda *_: ratio(1), ratio_total), [ratio(1)] * 4, [ratio(0, 0)] * 4, "own has no value"),
    ],
)
def test_where_there_is_nothing_to_lose_the_verdict_is_invalid(metric: Metric, before: Any, after: Any, words: str) -> None:
    (verdict,) = score_measurements(metric, collect(before), collect(after or before), accuracy_drop_max=0.5, classes=2).verdicts
    assert verdict.outcome == "invalid"
    assert words in verdict.text


def test_slices_are_named_and_the_small_ones_marked() -> None:
    chosen = np.arange(N) < 20
    before, after = ratios(1, 2, 3, 0), ratios(1, 2, 4, 0)
    found = slice_measurements(CER, before, after, "site", {"a": chosen, "b": ~chosen}).measurements
    assert [one.name for one in found] == ["cer_artifact[site=a]", "cer_delta[site=a]", "cer_artifact[site=b]", "cer_delta[site=b]"]
    assert [(one.n, one.details["too_small"], one.details["slice"]) for one in found[::2]] == [(20, True, "site=a"), (380, False, "site=b")]
    assert [one.value for one in found[1::2]] == pytest.approx([0.025, 0.025])


def test_other_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="not of the same samples"):
        score_measurements(CER, ratios(1), collect([ratio(1)]))
