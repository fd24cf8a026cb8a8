"""Outputs, truth and declarations that do not belong together: the sample is named, and what to mend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.metrics.postprocess import Postprocess
from edgekit.metrics.scoring import Scorer

SIZE = np.array([6, 8])
BOXES = {"boxes": np.zeros((0, 4)), "classes": np.zeros(0), "size": SIZE}


@pytest.mark.parametrize(
    ("metric", "declared", "shape", "truth", "words"),
    [
        ("map", {"decode": "yolo"}, (2, 84, 20), BOXES, "does not fit the outputs a [2, 84, 20]"),
        ("map", {"decode": "yolo"}, (84,), BOXES, "does not fit"),
        ("map", {"decode": "boxes", "boxes": "a", "scores": "a"}, (1, 7), BOXES, "does not fit"),
        ("cer", {"decode": "ctc", "vocabulary": "tokens"}, (2, 3, 4), {"text": np.zeros(0, np.uint8)}, "does not fit"),
        ("miou", {}, (1, 3, 6, 8), {"mask": np.zeros((3, 4), int), "size": SIZE}, "its mask is [3, 4], its image [6, 8]"),
        ("auc", {}, (1, 1), {"label": np.array(2)}, "its label is 2, the output scores classes 0 to 1"),
        ("auc", {}, (1, 3), {"label": np.array(3)}, "its label is 3, the output scores classes 0 to 2"),
    ],
)
def test_a_misfit_is_named(tmp_path: Path, metric: str, declared: dict[str, Any], shape: tuple[int, ...], truth: Any, words: str) -> None:
    (tmp_path / "tokens").write_text("a\nb\nc\n")
    scorer = Scorer.of(metric, Postprocess(**declared), tmp_path, {}, ["a"])
    with pytest.raises(InputError) as refused:
        scorer([{"a": np.zeros(shape, np.float32)}], [truth])
    assert refused.value.message.startswith("sample 0: ")
    assert words in refused.value.message


def test_a_metric_without_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="math:hypot has no source"):
        Scorer.of("math:hypot", Postprocess(), tmp_path, {}, ["a"])
