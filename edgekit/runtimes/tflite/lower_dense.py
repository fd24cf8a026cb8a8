"""Matrix products with a constant: FULLY_CONNECTED."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from edgekit.graph import Array, Node
from edgekit.runtimes.tflite.clamp import clipped
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.operator import Operator, Unsupported
from edgekit.runtimes.tflite.weights import channel_scales, write_filter

__all__ = ["OPERATORS"]


def _gemm(e: Emission, node: Node) -> None:
    if node.attrs.get("transA"):
        raise Unsupported("it transposes its input (transA)", fix="export the layer as a plain linear layer")
    matrix = e.weight(node.inputs[1])
    transposed = bool(node.attrs.get("transB"))
    alpha, beta = float(node.attrs.get("alpha", 1.0)), float(node.attrs.get("beta", 1.0))
    scales = channel_scales(e, node.inputs[1], 0 if transposed else 1)
    _dense(e, node, alpha * (matrix if transposed else matrix.T), abs(alpha) * scales, beta)


def _matmul(e: Emission, node: Node) -> None:
    if node.inputs[1] not in e.graph.weights:
        raise Unsupported("a product of two activations", fix="keep this node in float, or leave attention out of an INT8 build")
    matrix = e.weight(node.inputs[1])
    if matrix.ndim != 2:
        raise Unsupported(f"its constant has {matrix.ndim} dimensions, not 2", fix="export the layer as a plain linear layer")
    _dense(e, node, matrix.T, channel_scales(e, node.inputs[1], 1), 1.0)


def _dense(e: Emission, node: Node, values: Array, scales: Array, beta: float) -> None:
    """Write the product with ``values`` [out, in]."""
    name = node.inputs[0]
    out = len(values)
    bias: Array | None = None
    if len(node.inputs) > 2 and node.inputs[2]:
        constant = e.weight(node.inputs[2])
        if constant.size not in (1, out):
            raise Unsupported(
                f"its addend has the shape {list(constant.shape)}, not [{out}]", fix="export the layer as a plain linear layer"
            )
        bias = np.broadcast_to(beta * constant.reshape(-1), (out,))
    if name in e.flat:
        values = _for_flat_image(values, e.flat[name])
        source = e.read(name)
    else:
        source = e.read(name, "onnx")
    rank = len(e.graph.shapes[name])
    inputs = [source, *write_filter(e, node, values, 0, scales, bias, e.params[name])]

    def write(target: int, fused: int) -> None:
        e.op("FULLY_CONNECTED", inputs, [target], "FullyConnectedOptions", fusedActivationFunction=fused, keepNumDims=rank > 2)

    clipped(e, node, "onnx", write)


def _for_flat_image(values: Array, image: tuple[int, int, int]) -> Array:
    """Reorder the columns of a matrix that reads a flattened CHW image, for one flattened as HWC."""
    channels, height, width = image
    columns = np.arange(channels * height * width).reshape(channels, height, width).transpose(1, 2, 0).reshape(-1)
    return values[:, columns]


OPERATORS: Mapping[str, Operator] = MappingProxyType({"Gemm": Operator(_gemm), "MatMul": Operator(_matmul)})
