"""``Case``: a model, the samples that calibrate it and those that judge it. ``CASES`` lists all; ``sets`` prepares one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from edgekit.preprocess import Preprocess

__all__ = ["CASES", "PADDED_TOKENS", "Case", "Part"]

PADDED_TOKENS = 64

_AS_IT_IS = Preprocess()
_CIFAR = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Part:
    """So many samples (all that are left: None) of a set, after the first ``skip``."""

    set: str
    samples: int | None = None
    skip: int = 0


@dataclass(frozen=True)
class Case:
    """A model and its samples, by their names in ``data.FILES``.

    Attributes
    ----------
    title
        How the tables call it.
    model
        An ONNX file, or a float .tflite of which one is made.
    preprocess
        What ``[preprocess]`` of an edgekit.toml would say; it makes the prepared samples of all peers.
    calibration
        All samples a run may calibrate on; it takes the first of them.
    head
        Weights of a linear layer over the model's embedding: text is classified.
    published
        An INT8 file that others published for this very model.
    """

    title: str
    model: str
    calibration: Part
    evaluation: Part
    preprocess: Preprocess = _AS_IT_IS
    head: str | None = None
    published: str | None = None


CASES: Mapping[str, Case] = {
    "mobilenetv2": Case(
        title="MobileNetV2, CIFAR-10 probe",
        model="mobilenetv2",
        calibration=Part("cifar10_train"),
        evaluation=Part("cifar10_test", 500),
        preprocess=msgspec.structs.replace(_CIFAR, resize=(128, 128)),
    ),
    "efficientnet_lite0": Case(
        title="EfficientNet-Lite0, ImageNet",
        model="efficientnet_lite0",
        calibration=Part("imagenet", 100),
        evaluation=Part("imagenet", 300, skip=100),
        preprocess=Preprocess(mean=(127.0,), std=(128.0,)),
    ),
    "resnet20": Case("ResNet-20, CIFAR-10", "resnet20", Part("cifar10_train"), Part("cifar10_test", 2000), _CIFAR),
    "resnet32": Case("ResNet-32, CIFAR-10", "resnet32", Part("cifar10_train"), Part("cifar10_test", 2000), _CIFAR),
    "resnet8": Case(
        title="ResNet-8, MLPerf Tiny",
        model="resnet8_float",
        calibration=Part("cifar10_train"),
        evaluation=Part("cifar10_test"),
        published="resnet8_int8",
    ),
    "minilm": Case(
        title="MiniLM + Banking77 head",
        model="minilm",
        calibration=Part("banking77", skip=500),
        evaluation=Part("banking77", 500),
        head="banking77_head",
    ),
}
