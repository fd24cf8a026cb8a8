"""`build` and `probe accuracy` by each kind of metric: the board's figures are the host's, from one piece of code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekit.bundle import open_bundle
from edgekit.device import Address, Device
from edgekit.errors import InputError
from edgekit.evaluation import EVALUATION, Evaluation
from edgekit.parse import from_json, into
from edgekit.pipeline.build import Built, build
from edgekit.pipeline.deploy import deploy
from edgekit.pipeline.probe import probe
from edgekit.project import Project
from edgekit.report import Measurement, Report
from edgekit.target import load_target
from tests.unit.pipeline.networks import CLASSES, fusion
from tests.unit.pipeline.tasks import (
    TOKENS,
    detector,
    photos_of_blocks,
    photos_of_lines,
    photos_of_regions,
    reader_of_lines,
    segmenter,
)

COUNT = 24


def project(**sections: dict[str, Any]) -> Project:
    base: dict[str, Any] = {"preprocess": {"scale": 1 / 255}, "calibration": {"dataset": "cal"}, "evaluation": {"dataset": "eval"}}
    return into({key: {**base.get(key, {}), **sections.get(key, {})} for key in {*base, *sections}}, Project, "test")


def built(folder: Path, declared: Project, target: str = "local") -> Built:
    return build(declared, folder, load_target(target), model_path=folder / "net.onnx", output=folder / "out")


def probed(folder: Path, declared: Project, **options: Any) -> Report:
    return probe(here(folder), "accuracy", project=declared, folder=folder, options=options)


def here(folder: Path) -> Device:
    return Device(name="here", address=Address.parse("local"), root=str(folder / "root"), python=sys.executable)


def figures(report: Report) -> dict[str, Measurement]:
    return {one.name: one for one in report.measurements if one.unit == "1"}


def check_board(folder: Path, declared: Project, made: Built, **options: Any) -> dict[str, Measurement]:
    """Check that the board's figures are the host's, and return them."""
    with open_bundle(made.path) as bundle:
        deploy(bundle, here(folder))
    board, host = figures(probed(folder, declared, **options)), figures(made.report)
    assert {name: board[name] for name in host} == host
    return board


@pytest.mark.parametrize("target", ["local", "edge-x86"])
def test_boxes_of_a_network_with_two_outputs(tmp_path: Path, target: str) -> None:
    detector(tmp_path / "net.onnx")
    photos_of_blocks(tmp_path / "cal", 16, seed=1)
    photos_of_blocks(tmp_path / "eval", COUNT, seed=2)
    declared = project(
        preprocess={"resize": [32, 32]},
        evaluation={"metric": "map"},
        postprocess={"decode": "boxes", "boxes": "boxes", "scores": "scores", "nms_iou": 0.5},
        budget={"accuracy_drop_max": 0.3},
    )
    made = built(tmp_path, declared, target)
    found = check_board(tmp_path, declared, made)
    assert 0.6 < (found["map_float"].value or 0) <= 1
    assert abs(found["map_delta"].value or 0) < 0.2
    assert found["map_artifact"].details["iou_50"] == pytest.approx(1, abs=0.05)
    assert found["map_artifact"].details["large"] is None, "no box is large"
    (verdict,) = made.report.verdicts
    assert verdict.text.startswith("map changed by")


def test_class_maps_at_another_size_than_the_images(tmp_path: Path) -> None:
    segmenter(tmp_path / "net.onnx")
    photos_of_regions(tmp_path / "cal", 8, seed=1)
    photos_of_regions(tmp_path / "eval", COUNT, seed=2)
    declared = project(preprocess={"resize": [16, 16]}, evaluation={"metric": "miou"}, budget={"accuracy_drop_max": 0.01})
    made = built(tmp_path, declared)
    found = check_board(tmp_path, declared, made)
    assert 0.7 < (found["miou_float"].value or 0) < 1
    (verdict,) = made.report.verdicts
    assert verdict.outcome == "inconclusive"
    assert verdict.figures["needs"] == 268 - COUNT, "so few images may miss a loss of a point"


def test_texts_and_their_slices(tmp_path: Path) -> None:
    reader_of_lines(tmp_path / "net.onnx")
    photos_of_lines(tmp_path / "cal", 8, seed=1)
    photos_of_lines(tmp_path / "eval", 48, seed=2)
    (tmp_path / "tokens.txt").write_text("\n".join(TOKENS) + "\n")
    declared = project(evaluation={"metric": "cer"}, postprocess={"decode": "ctc", "vocabulary": "tokens.txt"})
    made = built(tmp_path, declared)
    found = check_board(tmp_path, declared, made, by="light")
    night, day = found["cer_artifact[light=night]"], found["cer_artifact[light=day]"]
    assert (night.n, day.n) == (12, 36)
    assert (night.details["too_small"], day.details["too_small"]) == (True, False)
    assert (night.value or 0) > (day.value or 0)
    with pytest.raises(InputError, match="has no column 'site'"):
        probed(tmp_path, declared, by="site")
    (tmp_path / "tokens.txt").write_text("b\na\nc\n")
    with pytest.raises(InputError, match="built with another metric or"):
        probed(tmp_path, declared)


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    random = np.random.default_rng(5)
    fusion(tmp_path / "net.onnx")
    for name, count in (("cal", 16), ("eval", 40)):
        arrays: dict[str, Any] = {
            "image": random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8),
            "facts": random.standard_normal((count, 5)),
        }
        labels, sites = random.integers(0, CLASSES, count), np.array(["north", "south"])[random.integers(0, 2, count)]
        np.savez(tmp_path / f"{name}.npz", **arrays, y=labels, site=sites)
    return tmp_path


def declared_for(metric: str, **sections: Any) -> Project:
    return project(calibration={"dataset": "cal.npz"}, evaluation={"dataset": "eval.npz", "metric": metric}, **sections)


@pytest.mark.parametrize("metric", ["f1", "cosine"])
def test_a_classifier_by_several_metrics(classifier: Path, metric: str) -> None:
    declared = declared_for(metric)
    found = check_board(classifier, declared, built(classifier, declared), by="site")
    assert sum(found[f"{metric}_artifact[site={site}]"].n for site in ("north", "south")) == 40
    if metric == "cosine":
        assert found["cosine_float"].value == pytest.approx(1)
        assert 0.99 < (found["cosine_artifact"].value or 0) < 1


@pytest.mark.parametrize("metric", ["top1", "top5", "f1"])
def test_a_float_model_at_chance_proves_nothing_on_a_board_either(classifier: Path, metric: str) -> None:
    first = built(classifier, declared_for("top1"))
    with open_bundle(first.path) as bundle:
        said = from_json(bundle.read(EVALUATION), Evaluation, "here").float_predictions
    with np.load(classifier / "eval.npz") as kept:
        arrays = {**kept, "y": (np.array(said) + 1) % CLASSES}
    np.savez(classifier / "eval.npz", **arrays)
    declared = declared_for(metric, budget={"accuracy_drop_max": 0.1})
    check_board(classifier, declared, built(classifier, declared))
    (verdict,) = probed(classifier, declared).verdicts
    assert (verdict.outcome, "no better than chance" in verdict.text) == ("invalid", True)


def test_top1_of_another_output_than_the_first(tmp_path: Path) -> None:
    detector(tmp_path / "net.onnx")
    random = np.random.default_rng(6)
    pixels = random.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "cal.npz", x=pixels[:20])
    np.savez(tmp_path / "eval.npz", x=pixels[20:], y=random.integers(0, 32, 40))
    declared = declared_for("top1", postprocess={"output": "scores"})
    found = check_board(tmp_path, declared, built(tmp_path, declared))
    assert found["top1_float"].value is not None
    with pytest.raises(InputError, match="no output 'score'"):
        built(tmp_path, declared_for("top1", postprocess={"output": "score"}))


def test_a_function_of_the_projects_own(classifier: Path) -> None:
    (classifier / "own_metric.py").write_text(
        "def margin(outputs, truth):\n    scores = outputs['y'].ravel()\n    return float(scores[int(truth)] > 0), 1\n"
    )
    declared = declared_for("own_metric:margin")
    made = built(classifier, declared)
    assert 0 < (figures(made.report)["margin_float"].value or 0) < 1
    check_board(classifier, declared, made)
    with (classifier / "own_metric.py").open("a") as file:
        file.write("# changed\n")
    with pytest.raises(InputError, match="built with another metric"):
        probed(classifier, declared)


@pytest.mark.parametrize(
    ("metric", "sections", "words"),
    [
        ("top-5", {}, "did you mean 'top5'"),
        ("wer", {}, "its truth is no text"),
        ("nowhere:f", {}, "No module named 'nowhere'"),
        ("f1", {"postprocess": {"decode": "ctc"}}, "the metric reads class, and ctc is declared"),
    ],
)
def test_what_cannot_be_scored_is_refused(classifier: Path, metric: str, sections: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as refused:
        built(classifier, declared_for(metric, **sections))
    assert words in f"{refused.value.message} {refused.value.fix}"


def test_a_search_meets_the_budget_of_any_metric(classifier: Path) -> None:
    declared = declared_for("cosine", budget={"accuracy_drop_max": 0.0001}, quantize={"bias": False, "rounding": False})
    report = built(classifier, declared).report
    assert len(report.trials) > 1, "every layer in INT8 loses more"
    best = max(report.trials, key=lambda trial: trial.delta)
    assert best.delta >= -0.0001
    assert figures(report)["cosine_delta"].value == pytest.approx(best.delta, abs=1e-4)


def test_one_score_tells_two_classes_apart_for_auc(tmp_path: Path) -> None:
    pooled = onnx.helper.make_graph(
        [
            onnx.helper.make_node("GlobalMaxPool", ["image"], ["peaks"]),
            onnx.helper.make_node("ReduceMean", ["peaks"], ["y"], axes=[1, 2, 3], keepdims=1),
        ],
        "net",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 1, 1, 1])],
    )
    onnx.save(onnx.helper.make_model(pooled, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), tmp_path / "net.onnx")
    random = np.random.default_rng(7)
    labels = random.integers(0, 2, 40)
    pixels = (random.integers(0, 100, (40, 8, 8, 3)) + 100 * labels[:, None, None, None]).astype(np.uint8)
    np.savez(tmp_path / "cal.npz", x=pixels[:10] // 2)
    np.savez(tmp_path / "eval.npz", x=pixels, y=labels)
    found = figures(built(tmp_path, declared_for("auc")).report)
    assert found["auc_float"].value == 1
