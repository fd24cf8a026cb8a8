"""What pycocotools and scikit-learn say of random cases; scripts/make_metric_cases.py wrote them down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.metrics import collect
from edgekit.metrics.auc import AUC
from edgekit.metrics.boxes import MAP
from edgekit.metrics.classes import F1
from edgekit.metrics.masks import MIOU
from edgekit.truth import boxes_truth

CASES = Path(__file__).resolve().parents[2] / "cases" / "metrics"


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((CASES / f"{name}.json").read_text(encoding="utf-8"))
    return found


def arrays(table: dict[str, Any]) -> dict[str, np.ndarray]:
    return {key: np.array(value, np.float64) for key, value in table.items()}


@pytest.mark.parametrize("case", cases("boxes"))
def test_map_is_pycocotools_to_the_ninth_place(case: dict[str, Any]) -> None:
    found = [MAP.statistic(arrays(one["outputs"]), boxes_truth(**arrays(one["truth"]))) for one in case["images"]]
    statistics = collect(found)
    assert MAP.parts is not None
    parts = MAP.parts(statistics)
    mine = [MAP.value(statistics), *(parts[key] for key in ("iou_50", "iou_75", "small", "medium", "large"))]
    if case["expected"] is not None:
        assert mine == pytest.approx([np.nan if one == -1 else one for one in case["expected"]], abs=1e-9, nan_ok=True)
    else:
        assert all(one == 0 or np.isnan(one) for one in mine), "nothing was found"


@pytest.mark.parametrize("case", cases("scores"))
@pytest.mark.parametrize("metric", [AUC, F1], ids=lambda metric: metric.name)
def test_auc_and_f1_are_scikit_learns(case: dict[str, Any], metric: Any) -> None:
    rows = [metric.statistic({"scores": np.array(s)}, {"label": np.array(y)}) for s, y in zip(case["scores"], case["labels"], strict=True)]
    statistics = collect(rows)
    assert metric.value(statistics) == pytest.approx(case["expected"]["once"][metric.name], abs=1e-9)
    drawn = metric.total(statistics)(np.array(case["counts"], float))
    assert drawn == pytest.approx(case["expected"]["drawn"][metric.name], abs=1e-9)


@pytest.mark.parametrize("case", cases("masks"))
def test_miou_is_scikit_learns_jaccard(case: dict[str, Any]) -> None:
    pairs = zip(np.array(case["map"]), np.array(case["truth"]), strict=True)
    assert MIOU.value(collect([MIOU.statistic({"map": said}, {"mask": true}) for said, true in pairs])) == pytest.approx(case["expected"])
