"""``PEERS``: everyone who quantizes here, edgekit among them; ``RUNTIMES``: who runs their files.

To add a peer: its list in ``requirements/`` and its Python in ``environment``, its driver in ``peers/``, its line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["PEERS", "RUNTIMES", "Peer"]

# Runtime -> the environment it runs in.
RUNTIMES: Mapping[str, str] = {"onnxruntime": "onnxruntime", "openvino": "nncf", "litert": "litert-quantizer"}

# Half a point, for the models that plain INT8 hurts.
BUDGET = 0.005
_HARD = ("mobilenetv2", "minilm")


@dataclass(frozen=True)
class Peer:
    """One way to quantize, with its default options but for those named here.

    Attributes
    ----------
    driver
        Its file in ``peers/``.
    environment
        Where the driver runs; None is the interpreter of the bench, which has edgekit.
    runtime
        Who runs the file; None for what makes none.
    models
        The cases it is for; empty is all.
    """

    title: str
    driver: str
    environment: str | None
    runtime: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    models: tuple[str, ...] = ()

    @property
    def is_edgekit(self) -> bool:
        return self.driver.startswith("edgekit")

    @property
    def has_command(self) -> bool:
        """Whether ``edgekit build`` makes the very file that its library makes: for a target, and not for a runtime by itself."""
        return self.driver == "edgekit_library" and "runtime" not in self.options


def _edgekit(title: str, runs_in: str, target: str, *, models: tuple[str, ...] = (), **options: Any) -> Peer:
    suffix = ".tflite" if runs_in == "litert" else ".onnx"
    driver = "edgekit_command" if "budget" in options else "edgekit_library"
    return Peer(f"edgekit, {title}", driver, None, runs_in, {"target": target, "suffix": suffix, **options}, models)


def _onnxruntime(method: str, *, symmetric: bool) -> Peer:
    title = f"onnxruntime, {method}, {'symmetric' if symmetric else 'asymmetric'}"
    return Peer(title, "quantize_static", "onnxruntime", "onnxruntime", {"method": method, "symmetric": symmetric})


def _litert(name: str) -> Peer:
    return Peer(f"onnx2tf + {name}", "litert_quantizer", name, "litert", {"package": name.replace("-", "_")})


PEERS: Mapping[str, Peer] = {
    "edgekit-tflite": _edgekit("TFLite", "litert", "rpi4"),
    "edgekit-onnxruntime": _edgekit("Q/DQ asymmetric", "onnxruntime", "edge-x86"),
    "edgekit-tensorrt": _edgekit("Q/DQ symmetric", "onnxruntime", "rpi4", runtime="tensorrt"),
    "edgekit-tflite-budget": _edgekit("TFLite, budget", "litert", "rpi4", budget=BUDGET, models=_HARD),
    "edgekit-onnxruntime-budget": _edgekit("Q/DQ asymmetric, budget", "onnxruntime", "edge-x86", budget=BUDGET, models=_HARD),
    "nncf-onnx": Peer("nncf, ONNX", "nncf_onnx", "nncf", "onnxruntime"),
    "nncf-openvino": Peer("nncf, OpenVINO", "nncf_openvino", "nncf", "openvino"),
    "neural-compressor": Peer("neural-compressor", "neural_compressor", "neural-compressor", "onnxruntime"),
    "modelopt": Peer("ModelOpt", "modelopt", "modelopt", "onnxruntime"),
    "ort-minmax": _onnxruntime("MinMax", symmetric=False),
    "ort-minmax-symmetric": _onnxruntime("MinMax", symmetric=True),
    "ort-entropy": _onnxruntime("Entropy", symmetric=False),
    "ort-entropy-symmetric": _onnxruntime("Entropy", symmetric=True),
    "ort-percentile": _onnxruntime("Percentile", symmetric=False),
    "ort-percentile-symmetric": _onnxruntime("Percentile", symmetric=True),
    "litert-quantizer": _litert("litert-quantizer"),
    "ai-edge-quantizer": _litert("ai-edge-quantizer"),
    "published": Peer("the published INT8 file", "published", None, "litert", models=("resnet8",)),
    "float-pass": Peer("one float pass (no quantization)", "float_pass", "onnxruntime", None),
}
