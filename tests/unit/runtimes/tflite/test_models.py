"""Whole networks against onnxruntime: minimum and maximum of 50 samples as ranges, nothing else tuned.

The thresholds are a little wider than what was measured; figures in the comments.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from edgekit.graph import Array, Graph
from edgekit.quantize.normalise import normalise
from edgekit.runtimes import Artifact
from edgekit.runtimes.tflite import TfliteRuntime
from edgekit.runtimes.tflite.inspect import operators
from tests.unit.runtimes.tflite.emitting import Runner, float_session, minmax_plan, sqnr_db

pytestmark = [pytest.mark.models, pytest.mark.slow]

MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
CALIBRATION = 50


@dataclass(frozen=True)
class Score:
    float_top1: float
    int8_top1: float
    disagreement: float
    sqnr_db: float


def cifar(path: Path, count: int, size: int = 32) -> tuple[list[Array], Array]:
    held = np.load(path)
    images = [np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)) for image in held["x"][:count]]
    return [((image / np.float32(255) - MEAN) / STD)[None] for image in images], held["y"][:count]


def imagenet(folder: Path, start: int, count: int) -> tuple[list[Array], Array]:
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[start : start + count]
    images = [(np.asarray(Image.open(folder / row["file"]).convert("RGB"), np.float32)[None] - 127) / 128 for row in rows]
    return images, np.array([int(row["label"]) for row in rows])


def nchw(image: Array) -> Array:
    return np.ascontiguousarray(image.transpose(0, 3, 1, 2))


def emitted(path: Path, samples: list[Array]) -> tuple[Graph, Artifact]:
    graph = normalise(onnx.load(path))
    plan = minmax_plan(graph, [nchw(sample) for sample in samples[:CALIBRATION]])
    artifact = TfliteRuntime().emit(graph, plan, io_dtype="int8", layout="nhwc")
    assert not [use for use in operators(artifact.data) if use.is_float]
    assert "TRANSPOSE" not in {use.name for use in operators(artifact.data)}
    # A quarter of the float weights, and room for scales, biases and names.
    assert len(artifact.data) < 0.31 * path.stat().st_size
    return graph, artifact


def score(graph: Graph, artifact: Artifact, images: list[Array], labels: Array) -> Score:
    session, runner = float_session(graph), Runner(artifact.data)
    (entry,) = graph.inputs
    reference = np.concatenate([session.run(None, {entry.name: nchw(image)})[0] for image in images])
    measured = np.concatenate([runner.real(runner.quantize(image)) for image in images])
    said, meant = measured.argmax(1), reference.argmax(1)
    return Score(
        float((meant == labels).mean()), float((said == labels).mean()), float((said != meant).mean()), sqnr_db(reference, measured)
    )


# Measured on 2,000: float 91.65, int8 91.75 %, 0.95 % disagree, 28.4 dB; ResNet-32: 92.50, 92.55 %, 0.60 %, 28.4 dB.
@pytest.mark.parametrize("name", ["resnet20_cifar10", "resnet32_cifar10"])
def test_residual_networks(shared_data: Path, name: str) -> None:
    calibration, _ = cifar(shared_data / "sets" / "cifar10_train_first500_calibration.npz", CALIBRATION)
    images, labels = cifar(shared_data / "sets" / "cifar10_test_even_first2000.npz", 1000)
    result = score(*emitted(shared_data / "models" / f"{name}.onnx", calibration), images, labels)
    assert result.float_top1 - result.int8_top1 <= 0.003
    assert result.disagreement < 0.02
    assert result.sqnr_db > 26


# Measured on 300: float 82.0, int8 73.3 %, 20.7 % disagree, 6.4 dB: its first blocks need more than ranges.
def test_the_hard_depthwise_network(shared_data: Path) -> None:
    calibration, _ = cifar(shared_data / "sets" / "cifar10_train_first500_calibration.npz", CALIBRATION, 128)
    images, labels = cifar(shared_data / "sets" / "cifar10_test_even_first2000.npz", 200, 128)
    result = score(*emitted(shared_data / "models" / "mobilenetv2_backbone_cifar10probe_128.onnx", calibration), images, labels)
    assert result.int8_top1 > 0.68
    assert result.sqnr_db > 5


# Measured on 100: float 91.0, int8 90.0 %, 2.0 % disagree, 18.4 dB.
def test_an_image_classifier(shared_data: Path, made_data: Path) -> None:
    folder = shared_data / "sets" / "imagenet_nips17_224_400"
    calibration, _ = imagenet(folder, 0, CALIBRATION)
    images, labels = imagenet(folder, 100, 100)
    result = score(*emitted(made_data / "models" / "efficientnet_lite0_imagenet_224.onnx", calibration), images, labels)
    assert result.float_top1 - result.int8_top1 <= 0.015
    assert result.disagreement <= 0.05
    assert result.sqnr_db > 16
