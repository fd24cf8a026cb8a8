"""A small whole bundle for tests that need one and no model."""

from __future__ import annotations

from pathlib import Path

from edgekit.bundle import list_files, write_bundle
from edgekit.manifest import Golden, Manifest, Origin, Requires
from edgekit.model import TensorSpec
from edgekit.target import Budget

FILES = {
    "model.tflite": b"not a model, but bytes " * 40,
    "plan.json": b"{}\n",
    "golden/samples.npz": b"samples",
    "golden/outputs.npz": b"outputs",
    "golden/builtin-outputs.npz": b"builtin outputs",
}


def small_manifest() -> Manifest:
    """Describe `FILES`."""
    return Manifest(
        name="meter",
        target="rpi4",
        runtime="tflite",
        artifact="model.tflite",
        threads=4,
        inputs=(TensorSpec("image", "int8", (1, 8, 8, 3)),),
        outputs=(TensorSpec("digits", "int8", (1, 10)),),
        layouts={"image": "nhwc"},
        preprocess={"layout": "nhwc"},
        requires=Requires(machines=("aarch64",), boards=("Raspberry Pi 4",), python="3.8", runtime="tflite"),
        golden=Golden("golden/samples.npz", "golden/outputs.npz", "golden/builtin-outputs.npz", 2),
        budget=Budget(accuracy_drop_max=0.01),
        origin=Origin(
            model_sha256="0" * 64,
            graph_sha256="1" * 64,
            calibration_sha256="2" * 64,
            calibration_samples=100,
            calibration_method="mse",
            evaluation_sha256="3" * 64,
            tools={"edgekit": "0.1.0"},
        ),
        taints=(),
        files=list_files(FILES),
    )


def write_small_bundle(folder: Path) -> Path:
    """Write it as a ``.edge`` file."""
    return write_bundle(small_manifest(), FILES, folder)
