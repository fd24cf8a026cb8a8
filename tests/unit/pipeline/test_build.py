"""`build` on small networks made here: what it proves, and what it refuses before any work is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.bundle import open_bundle
from edgekit.errors import InputError
from edgekit.evaluation import EVALUATION, Evaluation
from edgekit.parse import from_json, into
from edgekit.pipeline.build import Built, build
from edgekit.project import Project
from edgekit.target import load_target

CLASSES = 4
RNG = np.random.default_rng(7)
IMAGES = RNG.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
KERNEL = (RNG.standard_normal((CLASSES, 3, 3, 3)) / 5).astype(np.float32)


def save(path: Path, nodes: list[onnx.NodeProto], output: list[Any], weights: dict[str, np.ndarray]) -> None:
    body = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, output)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def classifier(path: Path) -> None:
    """Conv, mean over the image, and a Reshape that fixes the batch at 1, as some exporters write it."""
    nodes = [
        helper.make_node("Conv", ["image", "k"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Reshape", ["p", "shape"], ["y"]),
    ]
    save(path, nodes, [1, CLASSES], {"k": KERNEL, "shape": np.array([1, CLASSES])})


def segmenter(path: Path) -> None:
    save(path, [helper.make_node("Conv", ["image", "k"], ["y"], pads=[1, 1, 1, 1])], ["N", CLASSES, 8, 8], {"k": KERNEL})


def answers(images: np.ndarray) -> np.ndarray:
    """Return the classifier's own classes, so that its float accuracy is 1."""
    import onnxruntime

    path = Path("labels.onnx")
    classifier(path)
    session = onnxruntime.InferenceSession(path.read_bytes())
    feeds = (np.float32(image.transpose(2, 0, 1)[None] / np.float32(255)) for image in images)
    return np.array([int(session.run(None, {"image": x})[0].argmax()) for x in feeds])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    classifier(tmp_path / "net.onnx")
    np.savez(tmp_path / "cal.npz", x=IMAGES[:20])
    np.savez(tmp_path / "eval.npz", x=IMAGES[20:], y=answers(IMAGES[20:]))
    return tmp_path


def run(folder: Path, *, output: str = "out", **sections: dict[str, Any]) -> Built:
    base: dict[str, dict[str, Any]] = {
        "preprocess": {"scale": 1 / 255},
        "calibration": {"dataset": "cal.npz"},
        "evaluation": {"dataset": "eval.npz"},
    }
    merged = {name: {**base.get(name, {}), **sections.get(name, {})} for name in {*base, *sections}}
    return build(into(merged, Project, "test"), folder, load_target("local"), model_path=folder / "net.onnx", output=folder / output)


def figures(built: Built) -> dict[str, float | None]:
    return {m.name: m.value for m in built.report.measurements}


def test_a_classifier_whose_batch_is_fixed_inside(folder: Path) -> None:
    found = figures(run(folder))
    assert found["top1_float"] == 1.0
    assert found["disagreement"] is not None
    assert found["disagreement"] <= 0.05
    assert found["output_sqnr"] is not None
    assert found["output_sqnr"] > 25


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("io_dtype", ["int8", "uint8", "float32"])
def test_an_image_output_is_compared_in_its_own_layout(folder: Path, layout: str, io_dtype: str) -> None:
    segmenter(folder / "net.onnx")
    built = run(folder, build={"layout": layout, "io_dtype": io_dtype}, budget={"accuracy_drop_max": 0.01})
    sqnr = figures(built)["output_sqnr"]
    assert sqnr is not None
    assert sqnr > 30
    assert "disagreement" not in figures(built), "an image names no class"
    assert [(v.outcome, v.name) for v in built.report.verdicts] == [("inconclusive", "accuracy")]
    with open_bundle(built.path) as bundle:
        assert from_json(bundle.read(EVALUATION), Evaluation, "here").float_predictions == ()


def test_without_labels_there_is_agreement_but_no_accuracy(folder: Path) -> None:
    np.savez(folder / "eval.npz", x=IMAGES[20:])
    found = figures(run(folder))
    assert "disagreement" in found
    assert "top1_float" not in found


def test_a_model_no_better_than_chance_is_no_proof(folder: Path) -> None:
    np.savez(folder / "eval.npz", x=IMAGES[20:], y=(answers(IMAGES[20:]) + 1) % CLASSES)
    (verdict,) = run(folder).report.verdicts
    assert verdict.outcome == "invalid"
    assert "no better than chance" in verdict.text


def test_labels_that_name_no_class(folder: Path) -> None:
    np.savez(folder / "eval.npz", x=IMAGES[20:], y=answers(IMAGES[20:]) + 1)
    with pytest.raises(InputError, match="the model knows classes 0 to 3"):
        run(folder)


@pytest.mark.parametrize(
    ("x", "fix"),
    [
        (IMAGES[20:, :, :, 0], "save x[..., None]"),
        (IMAGES[20:].transpose(0, 3, 1, 2), "x.transpose(1, 2, 0)"),
        (IMAGES[20:, :7], "set resize"),
    ],
)
@pytest.mark.parametrize("section", ["cal.npz", "eval.npz"])
def test_samples_of_a_wrong_shape_are_named_with_their_fix(folder: Path, x: np.ndarray, fix: str, section: str) -> None:
    np.savez(folder / section, x=x)
    with pytest.raises(InputError) as caught:
        run(folder)
    assert f"{section}[0]" in caught.value.message
    assert fix in str(caught.value.fix)


def test_one_odd_image_among_many_is_named(folder: Path) -> None:
    code = "import numpy as np\ndef load():\n    for n in range(30):\n        yield np.zeros((8, 9 if n == 17 else 8, 3), np.uint8) + n\n"
    (folder / "odd_samples.py").write_text(code)
    with pytest.raises(InputError, match=r"odd_samples:load\[17\]"):
        run(folder, calibration={"dataset": "odd_samples:load"})


def test_a_folder_that_cannot_be_made_is_found_before_any_work(folder: Path) -> None:
    (folder / "file").write_text("")
    stages: list[str] = []
    project = into({"calibration": {"dataset": "cal.npz"}, "evaluation": {"dataset": "eval.npz"}}, Project, "test")
    with pytest.raises(InputError, match="cannot be made"):
        build(
            project,
            folder,
            load_target("local"),
            model_path=folder / "net.onnx",
            output=folder / "file" / "out",
            progress=lambda stage, done, total: stages.append(stage),
        )
    assert stages == []


def test_scratch_is_gone_afterwards(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    run(folder)
    assert list(scratch.iterdir()) == []


def test_the_project_lays_its_budget_over_the_targets(folder: Path) -> None:
    assert run(folder, budget={"accuracy_drop_max": 0.3}).manifest.budget.accuracy_drop_max == 0.3
