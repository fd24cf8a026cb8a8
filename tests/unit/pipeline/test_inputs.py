"""`build` of networks with several inputs: from the samples through the device's agent to the proof."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.bundle import open_bundle
from edgekit.errors import InputError
from edgekit.ondevice.samples import Samples
from edgekit.parse import into
from edgekit.pipeline.build import Built, build
from edgekit.project import Project
from edgekit.target import load_target

CLASSES = 4
RNG = np.random.default_rng(11)
IMAGES = RNG.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
FACTS = RNG.standard_normal((60, 5)).astype(np.float32)


def fusion(path: Path) -> None:
    """An image and a vector of facts: Conv, mean over the image, both concatenated, Gemm."""
    random = np.random.default_rng(3)
    weights = {"k": random.standard_normal((6, 3, 3, 3)) / 5, "w": random.standard_normal((11, CLASSES))}
    nodes = [
        helper.make_node("Conv", ["image", "k"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Concat", ["f", "facts"], ["all"], axis=1),
        helper.make_node("Gemm", ["all", "w"], ["y"]),
    ]
    floats = onnx.TensorProto.FLOAT
    body = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("facts", floats, ["N", 5]), helper.make_tensor_value_info("image", floats, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", floats, ["N", CLASSES])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fusion(tmp_path / "net.onnx")
    np.savez(tmp_path / "cal.npz", image=IMAGES[:20], facts=FACTS[:20])
    np.savez(tmp_path / "eval.npz", image=IMAGES[20:], facts=FACTS[20:], y=np.arange(40) % CLASSES)
    return tmp_path


def run(folder: Path, **sections: dict[str, Any]) -> Built:
    base = {"preprocess": {"scale": 1 / 255}, "calibration": {"dataset": "cal.npz"}, "evaluation": {"dataset": "eval.npz"}}
    project = into({**base, **sections}, Project, "test")
    return build(project, folder, load_target("local"), model_path=folder / "net.onnx", output=folder / "out")


def sqnr(built: Built) -> float:
    (value,) = [m.value for m in built.report.measurements if m.name == "output_sqnr"]
    assert value is not None
    return value


@pytest.mark.parametrize("io_dtype", ["int8", "uint8", "float32"])
def test_an_image_and_a_vector(folder: Path, io_dtype: str, tmp_path: Path) -> None:
    built = run(folder, build={"io_dtype": io_dtype})
    assert sqnr(built) > 20
    assert [(spec.name, spec.shape) for spec in built.manifest.inputs] == [("facts", (1, 5)), ("image", (1, 8, 8, 3))]
    assert (built.manifest.preprocess["inputs"], built.manifest.preprocess["layout"]) == (["image"], "nhwc")
    with open_bundle(built.path) as bundle:
        (tmp_path / "golden").write_bytes(bundle.read(built.manifest.golden.samples))
    with Samples(tmp_path / "golden") as golden:
        assert golden.arrays == ("facts", "image")
        assert np.array_equal(golden[1]["image"], IMAGES[21])
        assert np.array_equal(golden[1]["facts"], FACTS[21])


def test_the_order_of_arrays_and_inputs_is_of_no_matter(folder: Path) -> None:
    first = run(folder)
    np.savez(folder / "cal.npz", facts=FACTS[:20], image=IMAGES[:20])
    assert run(folder).path.name == first.path.name


def test_random_data_feeds_every_input(folder: Path) -> None:
    project = into({"preprocess": {"scale": 1 / 255}, "evaluation": {"dataset": "eval.npz"}}, Project, "test")
    target = load_target("local")
    built = build(project, folder, target, model_path=folder / "net.onnx", output=folder / "out", allow_random=True)
    assert built.manifest.taints == ("calibrated on random data",)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": IMAGES[:20]}, "cal.npz holds the arrays image; the model's inputs are facts, image"),
        ({"x": IMAGES[:20]}, "cal.npz holds the arrays x"),
        ({"image": IMAGES[:20], "facts": FACTS[:20, :4]}, "the shape of its facts is [1, 4], the model's input 'facts' takes [1, 5]"),
    ],
)
def test_samples_that_do_not_fit_are_named(folder: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(folder / "cal.npz", **arrays)
    with pytest.raises(InputError) as refused:
        run(folder)
    assert message in refused.value.message


def test_an_image_that_goes_in_as_it_is_cannot_be_turned(folder: Path) -> None:
    for name, part in (("cal", slice(0, 20)), ("eval", slice(20, 60))):
        np.savez(folder / f"{name}.npz", image=IMAGES[part].transpose(0, 3, 1, 2) / np.float32(255), facts=FACTS[part])
    with pytest.raises(InputError, match="'image' goes in as it is"):
        run(folder, preprocess={"inputs": []})
    assert sqnr(run(folder, preprocess={"inputs": []}, build={"layout": "nchw"})) > 20
