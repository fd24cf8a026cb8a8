"""The demo that ships in ``calibration/demo``: its figures are measured here, not believed."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgekit.digest import sha256_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "calibration" / "demo"
FILES = {"CARD.md", "calibration.npz", "demo.onnx", "edgekit.toml", "evaluation.npz"}

Array = np.ndarray[Any, np.dtype[Any]]


def load(name: str) -> tuple[Array, Array]:
    with np.load(DEMO / name, allow_pickle=False) as file:
        return file["x"], file["y"]


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    parsed: dict[str, Any] = tomllib.loads((DEMO / "edgekit.toml").read_text())
    return parsed


@pytest.fixture(scope="module")
def logits(config: dict[str, Any]) -> Array:
    """What the float network says about the evaluation set, preprocessed as the config declares."""
    declared = config["preprocess"]
    assert declared["layout"] == "nchw"
    images, _ = load(config["evaluation"]["dataset"])
    scale, mean, std = (np.array(declared[key], np.float32) for key in ("scale", "mean", "std"))
    x = np.ascontiguousarray(((images.astype(np.float32) * scale - mean) / std).transpose(0, 3, 1, 2))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(DEMO / config["model"]["path"], options, providers=["CPUExecutionProvider"])
    (out,) = session.run(["digits"], {"image": x})
    return np.asarray(out)


def test_ships_whole_and_small() -> None:
    assert sum((DEMO / name).stat().st_size for name in FILES) < 2_000_000


def test_float_accuracy_leaves_room_to_lose(logits: Array) -> None:
    _, digits = load("evaluation.npz")
    accuracy = float((logits.argmax(1) == digits).mean())
    assert logits.shape == (1000, 10)
    assert 0.97 <= accuracy < 1.0


def test_reads_every_digit(logits: Array) -> None:
    _, digits = load("evaluation.npz")
    right = logits.argmax(1) == digits
    assert all(right[digits == digit].mean() > 0.9 for digit in range(10))


@pytest.mark.parametrize(("name", "count"), [("calibration.npz", 192), ("evaluation.npz", 1000)])
def test_sets_have_the_declared_form(name: str, count: int) -> None:
    images, digits = load(name)
    assert images.shape == (count, 32, 32, 3)
    assert images.dtype == np.uint8
    assert digits.shape == (count,)
    assert digits.dtype == np.int64
    assert set(digits.tolist()) == set(range(10))


def test_sets_are_disjoint_and_without_repeats() -> None:
    images = [image.tobytes() for name in ("calibration.npz", "evaluation.npz") for image in load(name)[0]]
    assert len(set(images)) == len(images)


@pytest.mark.parametrize(("name", "seed"), [("calibration.npz", 202), ("evaluation.npz", 303)])
def test_sets_are_what_the_script_draws(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    drawn, drawn_digits = importlib.import_module("render_digits").render_set(seed, 24)
    shipped, digits = load(name)
    assert drawn_digits.tolist() == digits[:24].tolist()
    # Not to the last bit: another Pillow may round differently or carry another JPEG library.
    assert np.abs(drawn.astype(int) - shipped[:24]).mean() < 2


def test_graph_has_the_layers_that_hurt_int8() -> None:
    model = onnx.load(DEMO / "demo.onnx")
    (image,), (digits,) = model.graph.input, model.graph.output
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim] == ["N", 3, 32, 32]
    assert [d.dim_param or d.dim_value for d in digits.type.tensor_type.shape.dim] == ["N", 10]
    shapes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    groups = {attribute.i for node in convs for attribute in node.attribute if attribute.name == "group"}
    ops = {node.op_type for node in model.graph.node}
    assert {"Add", "Clip", "Conv", "Gemm", "GlobalAveragePool", "HardSigmoid", "HardSwish", "Mul", "Relu"} <= ops
    assert max(groups) == 120
    assert 30_000 < sum(int(np.prod(shape)) for shape in shapes.values()) < 150_000


def test_card_states_what_is_measured(logits: Array) -> None:
    card = (DEMO / "CARD.md").read_text()
    _, digits = load("evaluation.npz")
    correct = int((logits.argmax(1) == digits).sum())
    stated = re.search(r"float accuracy \| ([\d.]+) \((\d+) of 1,000", card)
    assert stated is not None
    # One picture may lie so near to a tie that another build of onnxruntime sees it otherwise.
    assert abs(int(stated[2]) - correct) <= 1
    assert float(stated[1]) == int(stated[2]) / 1000
    listed = re.findall(r"^\| `([\w.]+)` \| ([\d,]+) \| `([0-9a-f]{64})` \|$", card, re.MULTILINE)
    assert {name for name, _, _ in listed} == FILES - {"CARD.md"}
    for name, size, digest in listed:
        assert (DEMO / name).stat().st_size == int(size.replace(",", ""))
        assert sha256_file(DEMO / name) == digest
