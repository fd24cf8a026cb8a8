"""The float model of a case, as every peer gets it: shapes pinned to one sample; and the same as .tflite. ``sets`` calls it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.quantization import data, process, tflite_onnx
from bench.quantization.case import PADDED_TOKENS, Case
from bench.quantization.environment import NotInstalledError, python_of
from bench.quantization.feed import Array

__all__ = ["float_model", "float_tflite"]


def float_model(case: Case) -> onnx.ModelProto:
    """Return the ONNX model, from the file or made of the .tflite, with its head on and every shape fixed."""
    path = data.find(case.model)
    proto = tflite_onnx.convert(path) if path.suffix == ".tflite" else onnx.load(path)
    if case.head:
        with np.load(data.find(case.head), allow_pickle=False) as held:
            _add_head(proto, held["W"], held["b"])
    pinned = {"N": 1, "T": PADDED_TOKENS}
    for value in (*proto.graph.input, *proto.graph.output):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_value = pinned[side.dim_param]
    # An empty name at the end says what an absent one says, and not every peer knows the former.
    for node in proto.graph.node:
        while node.input and not node.input[-1]:
            node.input.pop()
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _add_head(proto: onnx.ModelProto, weight: Array, bias: Array) -> None:
    (embedding,) = proto.graph.output
    proto.graph.initializer.extend([numpy_helper.from_array(weight, "head.weight"), numpy_helper.from_array(bias, "head.bias")])
    node = helper.make_node("Gemm", [embedding.name, "head.weight", "head.bias"], ["logits"], name="head", transB=1)
    proto.graph.node.append(node)
    proto.graph.output.pop()
    proto.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(bias)]))


def float_tflite(model: Path, target: Path, cache: Path) -> str | None:
    """Write the float .tflite that onnx2tf makes of a prepared model, and return why not if it cannot be made."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            process.run(python_of("onnx2tf", cache), "convert", [str(model), scratch], target.with_suffix(".log"))
        except (NotInstalledError, process.FailedError) as error:
            return f"onnx2tf: {error}"
        made = sorted(Path(scratch).glob("*_float32.tflite"))
        if len(made) != 1:
            return "onnx2tf: wrote no float .tflite"
        shutil.move(made[0], target)
    return None
