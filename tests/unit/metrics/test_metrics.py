"""Each metric on cases whose answer is known by hand, and what holds for all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.lazy import load
from edgekit.metrics import METRICS, Metric, Statistics, collect
from edgekit.metrics.classes import F1, TOP1, TOP5
from edgekit.metrics.masks import MIOU
from edgekit.metrics.text import CER, WER, edits
from edgekit.metrics.vectors import COSINE
from edgekit.truth import boxes_truth, read_truth

RANDOM = np.random.default_rng(7)


def example(metric: Metric) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return decoded outputs and the truth of one random sample."""
    boxes = RANDOM.uniform(1, 90, (4, 4))
    outputs = {
        "scores": RANDOM.random(4).round(1),
        "boxes": boxes + RANDOM.normal(0, 1, (4, 4)),
        "classes": RANDOM.integers(0, 2, 4),
        "map": RANDOM.integers(0, 3, (4, 5)),
        "text": read_truth("text", "".join(RANDOM.choice(list("ab "), 6)), "")["text"],
    }
    truths: dict[str, dict[str, Any]] = {
        "class": {"label": RANDOM.integers(0, 4)},
        "boxes": boxes_truth(boxes, RANDOM.integers(0, 2, 4)),
        "mask": {"mask": RANDOM.integers(0, 3, (4, 5))},
        "text": read_truth("text", "a b ab", ""),
        "vector": {"vector": RANDOM.random(4)},
    }
    return outputs, truths[metric.truth]


@pytest.mark.parametrize("name", METRICS)
def test_a_sample_that_counts_twice_is_as_good_as_two(name: str) -> None:
    metric: Metric = load(METRICS[name][0])
    assert metric.name == name
    rows = [metric.statistic(*example(metric)) for _ in range(12)]
    counts = np.array([2, 0, 1, 1, 3, 0, 1, 1, 1, 0, 2, 1])
    repeated = collect([row for row, count in zip(rows, counts, strict=True) for _ in range(count)])
    # Of boxes with one score the order may differ; these have scores of their own.
    assert metric.total(collect(rows))(counts.astype(float)) == pytest.approx(metric.value(repeated), abs=0.02 if name == "map" else 1e-12)


def perfect(true: dict[str, Any]) -> dict[str, Any]:
    """Return what a decoded output adds to the truth where it is right everywhere."""
    if "label" in true:
        return {"scores": np.eye(4)[int(true["label"])]}
    if "vector" in true:
        return {"scores": 3 * true["vector"]}
    return {"map": true.get("mask"), "scores": np.ones(4)}


@pytest.mark.parametrize("name", METRICS)
def test_what_is_right_everywhere_is_perfect(name: str) -> None:
    metric: Metric = load(METRICS[name][0])
    truths = [example(metric)[1] for _ in range(6)]
    rows = [metric.statistic({**true, **perfect(true)}, true) for true in truths]
    assert metric.value(collect(rows)) == pytest.approx(0 if metric.is_error else 1)


def test_constant_scores_are_right_of_the_first_classes_alone() -> None:
    said = {"scores": np.zeros(10)}
    for label in range(10):
        assert TOP1.statistic(said, {"label": np.array(label)})[0, 0] == (label == 0)
        assert TOP5.statistic(said, {"label": np.array(label)})[0, 0] == (label < 5)


def test_a_label_beyond_the_classes_is_refused() -> None:
    with pytest.raises(InputError, match="classes 0 to 3"):
        F1.statistic({"scores": np.zeros(4)}, {"label": np.array(4)})


def test_pixels_without_a_class_count_neither_way() -> None:
    true, said = np.array([[0, 0, 255], [1, 255, 1]]), np.array([[0, 1, 1], [1, 0, 1]])
    # Class 0: 1 right of 2 true and 1 said; class 1: 2 right of 2 true and 3 said.
    assert MIOU.value(collect([MIOU.statistic({"map": said}, {"mask": true})])) == pytest.approx((1 / 2 + 2 / 3) / 2)
    nothing = MIOU.statistic({"map": said}, {"mask": np.full((2, 3), 255)})
    assert np.isnan(MIOU.value(collect([nothing, nothing])))


@pytest.mark.parametrize(
    ("said", "true", "words", "characters"),
    [("the cat", "the cat sat", 1 / 3, 4 / 11), ("", "a b", 1.0, 1.0), ("a x b", "a b", 1 / 2, 2 / 3), ("kitten", "sitting", 1.0, 3 / 7)],
)
def test_error_rates(said: str, true: str, words: float, characters: float) -> None:
    told, known = read_truth("text", said, ""), read_truth("text", true, "")
    assert WER.value(collect([WER.statistic(told, known)])) == pytest.approx(words)
    assert CER.value(collect([CER.statistic(told, known)])) == pytest.approx(characters)


@given(st.text("abc", max_size=8), st.text("abc", max_size=8), st.text("abc", max_size=8))
def test_edits_are_a_distance(one: str, other: str, third: str) -> None:
    assert edits(one, other) == edits(other, one) >= abs(len(one) - len(other))
    assert (edits(one, other) == 0) == (one == other)
    assert edits(one, third) <= edits(one, other) + edits(other, third)


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(InputError, match="3 values, the true vector 4"):
        COSINE.statistic({"scores": np.ones(3)}, {"vector": np.ones(4)})


def test_what_changed_is_told_sample_by_sample() -> None:
    one = collect([np.ones((2, 3)), np.zeros((0, 3)), np.ones((1, 3))])
    other = collect([np.ones((2, 3)), np.ones((1, 3)), np.zeros((1, 3))])
    assert one.changed(other).tolist() == [False, True, True]
    assert one.changed(one).tolist() == [False, False, False]


def test_statistics_of_a_foreign_file_make_no_endless_table() -> None:
    with pytest.raises(ValueError, match="numbered from 0"):
        F1.total(Statistics(np.array([[1e18, 0.0]]), np.array([1])))
