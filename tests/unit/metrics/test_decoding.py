"""Outputs read as a metric wants them, on arrays whose meaning is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.metrics import Truth
from edgekit.metrics.decoding import decoder_for, nms
from edgekit.metrics.frame import Frame
from edgekit.metrics.postprocess import Postprocess

WHOLE = Frame((100, 200), (50, 100), (50, 100))


def read(truth: Truth, output: Any, *, vocabulary: Sequence[str] = (), frame: Frame | None = None, **declared: Any) -> dict[str, Any]:
    decode = decoder_for(Postprocess(**declared), truth, ["out"], vocabulary)
    return decode({"out": np.asarray(output)}, frame)


def text(found: dict[str, Any]) -> str:
    return bytes(found["text"]).decode()


def test_scores_as_they_are_and_as_probabilities() -> None:
    assert read("class", [[1.0, 3.0]])["scores"].tolist() == [1, 3]
    assert read("class", [[0.0, np.log(3)]], decode="softmax")["scores"] == pytest.approx([0.25, 0.75])
    assert read("class", [[0.0, -1000.0]], decode="sigmoid")["scores"] == pytest.approx([0.5, 0.0])


@pytest.mark.parametrize("turned", [False, True])
def test_yolo_gives_boxes_in_the_images_own_pixels(turned: bool) -> None:
    # Centre, size and two classes' scores of six places; the network sees half of each side of the image.
    places = [[20, 10, 10, 4, 0.9, 0.0], [20, 10, 10, 4, 0.0, 0.6], [21, 10, 10, 4, 0.8, 0.0], [60, 40, 8, 8, 0.3, 0.2]]
    rows = np.array([*places, *([[0.0] * 6] * 4)])
    found = read("boxes", (rows if turned else rows.T)[None], frame=WHOLE, decode="yolo", nms_iou=0.5, score_min=0.25)
    assert found["classes"].tolist() == [0, 1, 0]
    assert found["scores"].tolist() == [0.9, 0.6, 0.3]
    assert found["boxes"].tolist() == [[30, 16, 20, 8], [30, 16, 20, 8], [112, 72, 16, 16]]


@pytest.mark.parametrize("units", ["pixels", "fractions"])
def test_boxes_with_classes_or_scores_of_each(units: Any) -> None:
    corners = np.array([[[10.0, 5, 20, 15], [0, 0, 100, 50]]])
    outputs = {
        "b": corners / ([100, 50, 100, 50] if units == "fractions" else 1),
        "s": np.array([[0.4, 0.7]]),
        "c": np.array([[2.0, 1.0]]),
        "all": np.array([[[0, 0, 0.4], [0, 0.7, 0]]]),
    }
    declared: tuple[dict[str, Any], ...] = ({"scores": "s", "classes": "c"}, {"scores": "all"})
    for named in declared:
        found = decoder_for(Postprocess(decode="boxes", boxes="b", units=units, **named), "boxes", [*outputs])(outputs, WHOLE)
        assert found["classes"].tolist() == [1, 2]
        assert found["boxes"].tolist() == [[0, 0, 200, 100], [20, 10, 20, 20]]


def test_nms_keeps_the_better_of_one_class() -> None:
    corners = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [50, 50, 60, 60]])
    assert nms(corners, np.array([0, 0, 1, 0]), 0.5).tolist() == [0, 2, 3]
    assert nms(corners, np.array([0, 0, 1, 0]), 0.9).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("listed", [True, False])
def test_ctc_folds_repeats_and_drops_the_blank(listed: bool) -> None:
    steps = np.eye(4)[[0, 1, 1, 0, 1, 2, 3, 3, 0]]
    vocabulary = ["_", "a", "b", "ö"] if listed else ["a", "b", "ö"]
    assert text(read("text", steps[None], vocabulary=vocabulary, decode="ctc")) == "aabö"
    assert text(read("text", steps[:, None], vocabulary=vocabulary, decode="ctc")) == "aabö"


def test_argmax_ends_where_it_is_told_to() -> None:
    assert text(read("text", [[2, 1, 0, 2]], vocabulary=["", "b", "c"], decode="argmax", end=0)) == "cb"
    assert text(read("text", np.eye(3)[[2, 1, 1]][None], vocabulary=["", "b", "c"], decode="argmax", end=0)) == "cbb"
    assert text(read("text", [[0, 2]], vocabulary=["", "b", "c"], decode="argmax", end=0)) == ""


@pytest.mark.parametrize(
    "output",
    [[[[[0.1, 0.9], [0.2, 0.3]], [[0.5, 0.2], [0.1, 0.7]]]], [[[1, 0], [0, 1]]], [[[0.6, 0.4], [0.49, 0.5]]]],
    ids=["scores", "classes", "one channel"],
)
def test_a_class_map_is_spread_over_the_image(output: Any) -> None:
    found = read("mask", output, frame=Frame((4, 4), (4, 4), (4, 4)))["map"]
    assert found.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]


def test_what_was_cropped_away_counts_neither_way() -> None:
    # The shorter side becomes 4, the longer 8; the middle 4 x 4 of it go in.
    frame = Frame.of({"resize": 4, "crop": [4, 4]}, (8, 16))
    assert (frame.resized, frame.network) == ((4, 8), (4, 4))
    found = frame.spread(np.arange(16).reshape(4, 4), 255)
    assert found[:, :4].tolist() == found[:, 12:].tolist() == [[255] * 4] * 8
    assert found[0, 4:12].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert frame.boxes(np.array([[0.0, 0, 4, 4]])).tolist() == [[4, 0, 8, 8]]


@pytest.mark.parametrize(
    ("truth", "declared", "words"),
    [
        ("boxes", {}, "the metric reads boxes, and none is declared"),
        ("class", {"decode": "yolo"}, "the metric reads class"),
        ("class", {"output": "nowhere"}, "no output 'nowhere'"),
        ("text", {"decode": "ctc"}, "vocabulary"),
        ("boxes", {"decode": "boxes"}, "two outputs or three"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(truth: Truth, declared: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        decoder_for(Postprocess(**declared), truth, ["out"])


@pytest.mark.parametrize(
    ("truth", "output", "declared", "words"),
    [
        ("boxes", np.zeros((1, 3, 9)), {"decode": "yolo"}, "reads .1, 4"),
        ("text", np.eye(5)[None], {"decode": "ctc"}, "it has 3 tokens, the output tells 5 apart"),
        ("mask", np.zeros((1, 2, 3, 4, 5)), {}, "a class map is"),
    ],
)
def test_outputs_of_another_shape_are_refused(truth: Truth, output: Any, declared: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(truth, output, vocabulary=["a", "b", "c"] if truth == "text" else (), frame=WHOLE, **declared)


def test_boxes_need_an_image() -> None:
    with pytest.raises(InputError, match="the samples are none"):
        read("boxes", np.zeros((1, 6, 8)), decode="yolo")
