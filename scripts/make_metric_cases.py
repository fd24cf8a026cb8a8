"""Write tests/cases/metrics/*.json: random cases and what pycocotools and scikit-learn say of them.

They are no dependencies of edgekit, nor of its tests; in an environment of their own:

    python -m pip install pycocotools scikit-learn && python scripts/make_metric_cases.py tests/cases/metrics
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.metrics import f1_score, jaccard_score, roc_auc_score

Array = np.ndarray[Any, np.dtype[Any]]


def main(folder: Path) -> None:
    cases = {"boxes": [boxes(seed) for seed in range(24)], "scores": [scores(seed) for seed in range(12)], "masks": [masks(0), masks(1)]}
    for name, found in cases.items():
        (folder / f"{name}.json").write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")


def boxes(seed: int) -> dict[str, Any]:
    """Make images with true boxes, some of them crowds, and found ones near them; seeds 0, 6, 12, ... hold more than 100 of a class."""
    random = np.random.default_rng(seed)
    classes, images = int(random.integers(1, 5)), []
    for _ in range(int(random.integers(1, 4 if seed % 6 == 0 else 9))):
        count = int(random.integers(0, 7))
        true = np.concatenate([random.uniform(0, 200, (count, 2)), np.exp(random.uniform(1, 5.2, (count, 2)))], axis=1).round(1 - seed % 2)
        kinds, crowd = random.integers(0, classes, count), random.random(count) < 0.15
        area = (true[:, 2] * true[:, 3] * random.uniform(0.5, 1, count)).round(2)
        found = int(random.integers(0, 130 if seed % 6 == 0 else 12)) if count else 0
        near = random.integers(0, max(1, count), found)
        said = np.zeros((0, 4)) if not count else true[near] + random.integers(-5, 6, (found, 4))
        said[:, 2:] = np.maximum(said[:, 2:], 1)
        guessed = np.where(random.random(found) < 0.8, kinds[near] if count else 0, random.integers(0, classes, found))
        images.append(
            {
                "truth": {"boxes": true.tolist(), "classes": kinds.tolist(), "crowd": crowd.astype(int).tolist(), "area": area.tolist()},
                "outputs": {"boxes": said.round(2).tolist(), "scores": random.random(found).round(2).tolist(), "classes": guessed.tolist()},
            }
        )
    return {"images": images, "expected": coco(images, classes)}


def coco(images: list[dict[str, Any]], classes: int) -> list[float] | None:
    """Return AP over all thresholds, at 0.50, at 0.75, of small, medium and large boxes; -1 where nothing counts."""
    annotations: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, image in enumerate(images, start=1):
        truth, outputs = image["truth"], image["outputs"]
        for box, kind, crowd, area in zip(truth["boxes"], truth["classes"], truth["crowd"], truth["area"], strict=True):
            one = {"image_id": number, "category_id": kind + 1, "bbox": box, "iscrowd": crowd, "area": area}
            annotations.append({"id": len(annotations) + 1, **one})
        for box, score, kind in zip(outputs["boxes"], outputs["scores"], outputs["classes"], strict=True):
            found.append({"image_id": number, "category_id": kind + 1, "bbox": box, "score": score})
    if not found:
        return None
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        listed = [{"id": number} for number in range(1, len(images) + 1)]
        known.dataset = {"images": listed, "annotations": annotations, "categories": [{"id": n + 1} for n in range(classes)]}
        known.createIndex()
        judged = COCOeval(known, known.loadRes(found), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return [float(one) for one in judged.stats[:6]]


def scores(seed: int) -> dict[str, Any]:
    """Make scores with ties; ``counts`` says how often each sample counts."""
    random = np.random.default_rng(seed)
    classes, n = 2 + seed % 6, 60
    labels, table = random.integers(0, classes, n), random.random((n, classes)).round(1) + 0.01
    table /= table.sum(axis=1, keepdims=True)
    counts = random.integers(0, 3, n)
    drawn = np.repeat(np.arange(n), counts)
    expected = {}
    for name, rows in (("once", np.arange(n)), ("drawn", drawn)):
        of, said = labels[rows], table[rows]
        ranked = said[:, 1] - said[:, 0] if classes == 2 else said
        auc = roc_auc_score(of, ranked) if classes == 2 else roc_auc_score(of, ranked, multi_class="ovr", labels=range(classes))
        expected[name] = {"auc": float(auc), "f1": float(f1_score(of, said.argmax(axis=1), average="macro"))}
    return {"labels": labels.tolist(), "scores": table.tolist(), "counts": counts.tolist(), "expected": expected}


def masks(seed: int) -> dict[str, Any]:
    """Make class maps whose truth is in part 255, which counts neither way."""
    random = np.random.default_rng(seed)
    true, said = random.integers(0, 4, (3, 9, 11)), random.integers(0, 4, (3, 9, 11))
    true = np.where(random.random(true.shape) < 0.2, 255, np.where(random.random(true.shape) < 0.5, said, true))
    counted = true != 255
    expected = float(jaccard_score(true[counted], said[counted], average="macro"))
    return {"truth": true.tolist(), "map": said.tolist(), "expected": expected}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
