"""A float .tflite as an ONNX model: for networks that were published as TFLite alone, MLPerf Tiny's ResNet-8.

``sets`` calls ``convert`` and then compares both files' outputs on the evaluation samples. It knows the operators
of plain image classifiers, and says so of any other. TFLite computes in NHWC, the ONNX model in NCHW: its
4-D input is transposed, its outputs are as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from bench.quantization.feed import Array

__all__ = ["convert"]

_RELU, _SAME = schema.ActivationFunctionType.RELU, schema.Padding.SAME


def convert(path: Path) -> onnx.ModelProto:
    """Return the ONNX model of a float .tflite.

    Raises
    ------
    ValueError
        An operator or an activation that this file does not know.
    """
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    reader = _Reader(model)
    (graph,) = model.subgraphs
    names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        if name not in _OPERATORS:
            raise ValueError(f"{path}: {name} is not converted")
        _OPERATORS[name](reader, operator)
    (entry,), (leave,) = graph.inputs, graph.outputs
    shape = reader.shape(entry)
    body = helper.make_graph(
        reader.nodes,
        path.stem,
        [helper.make_tensor_value_info(f"t{entry}", TensorProto.FLOAT, [shape[i] for i in (0, 3, 1, 2)])],
        [helper.make_tensor_value_info(f"t{leave}", TensorProto.FLOAT, reader.shape(leave))],
        [numpy_helper.from_array(np.ascontiguousarray(values), key) for key, values in reader.weights.items()],
    )
    proto = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto, full_check=True)
    return proto


class _Reader:
    """The ONNX graph as it grows, and the flatbuffer's tensors."""

    def __init__(self, model: Any) -> None:
        self._model, self._tensors = model, model.subgraphs[0].tensors
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}

    def shape(self, index: int) -> list[int]:
        return [int(side) for side in self._tensors[index].shape]

    def constant(self, index: int, order: tuple[int, ...] | None = None) -> str:
        """Add a tensor's values, axes in another order if one is given, and return their name."""
        tensor = self._tensors[index]
        values = np.frombuffer(bytes(self._model.buffers[tensor.buffer].data), np.float32).reshape(tensor.shape)
        self.weights[f"w{index}"] = values if order is None else values.transpose(order)
        return f"w{index}"

    def add(self, op: str, inputs: list[str], output: int, activation: int = 0, **attributes: Any) -> None:
        """Add a node, and the activation TFLite fused into it."""
        if activation not in (schema.ActivationFunctionType.NONE, _RELU):
            raise ValueError(f"{op}: activation {activation} is not converted")
        made = f"t{output}" if activation != _RELU else f"t{output}/linear"
        self.nodes.append(helper.make_node(op, inputs, [made], name=f"{op}_{output}", **attributes))
        if activation == _RELU:
            self.nodes.append(helper.make_node("Relu", [made], [f"t{output}"], name=f"Relu_{output}"))

    def pads(self, source: int, kernel: tuple[int, int], stride: tuple[int, int], padding: int) -> list[int]:
        """Return ONNX pads. SAME puts the odd one at the end (TFLite, kernels/padding.h)."""
        if padding != _SAME:
            return [0, 0, 0, 0]
        sides = zip(self.shape(source)[1:3], kernel, stride, strict=True)
        totals = [max((-(-side // step) - 1) * step + reach - side, 0) for side, reach, step in sides]
        return [total // 2 for total in totals] + [total - total // 2 for total in totals]


def _conv(reader: _Reader, operator: Any) -> None:
    (source, kernel, bias), (target,), options = operator.inputs, operator.outputs, operator.builtinOptions
    reach, stride = tuple(reader.shape(kernel)[1:3]), (options.strideH, options.strideW)
    pads = reader.pads(source, (reach[0], reach[1]), stride, options.padding)
    inputs = [f"t{source}", reader.constant(kernel, (0, 3, 1, 2)), reader.constant(bias)]
    reader.add("Conv", inputs, target, options.fusedActivationFunction, kernel_shape=reach, strides=stride, pads=pads)


def _add(reader: _Reader, operator: Any) -> None:
    options = operator.builtinOptions
    reader.add("Add", [f"t{index}" for index in operator.inputs], operator.outputs[0], options.fusedActivationFunction)


def _average_pool(reader: _Reader, operator: Any) -> None:
    (source,), (target,), options = operator.inputs, operator.outputs, operator.builtinOptions
    reach, stride = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
    pads = reader.pads(source, reach, stride, options.padding)
    reader.add("AveragePool", [f"t{source}"], target, options.fusedActivationFunction, kernel_shape=reach, strides=stride, pads=pads)


def _reshape(reader: _Reader, operator: Any) -> None:
    source, target = operator.inputs[0], operator.outputs[0]
    if reader.shape(source)[1:3] != [1, 1]:
        raise ValueError("RESHAPE of an image, whose values NCHW holds in another order, is not converted")
    reader.add("Flatten", [f"t{source}"], target)


def _fully_connected(reader: _Reader, operator: Any) -> None:
    (source, kernel, bias), (target,), options = operator.inputs, operator.outputs, operator.builtinOptions
    inputs = [f"t{source}", reader.constant(kernel), reader.constant(bias)]
    reader.add("Gemm", inputs, target, options.fusedActivationFunction, transB=1)


def _softmax(reader: _Reader, operator: Any) -> None:
    if operator.builtinOptions.beta != 1.0:
        raise ValueError("SOFTMAX with a beta is not converted")
    reader.add("Softmax", [f"t{operator.inputs[0]}"], operator.outputs[0], axis=-1)


_OPERATORS: dict[str, Callable[[_Reader, Any], None]] = {
    "CONV_2D": _conv,
    "ADD": _add,
    "AVERAGE_POOL_2D": _average_pool,
    "RESHAPE": _reshape,
    "FULLY_CONNECTED": _fully_connected,
    "SOFTMAX": _softmax,
}
