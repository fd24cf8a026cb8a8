"""The manifest of releases whose artifact is an .onnx file, and raw images for them."""

from __future__ import annotations

from typing import Any

GOLDEN: dict[str, Any] = {
    "samples": "golden/samples.npz",
    "outputs": "golden/outputs.npz",
    "builtin_outputs": "golden/builtin-outputs.npz",
    "tolerance": 2,
}
MANIFEST: dict[str, Any] = {"artifact": "model.onnx", "preprocess": {"layout": "nchw"}, "golden": GOLDEN}


def images(count: int) -> Any:
    """Return images of 8 by 8 pixels, the same at every call."""
    import numpy as np

    return np.random.default_rng(2).integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
