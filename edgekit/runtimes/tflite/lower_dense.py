"""Matrix products: FULLY_CONNECTED by a constant, BATCH_MATMUL of two activations."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from edgekit.graph import Array, Node
from edgekit.plan import INT8_MAX
from edgekit.runtimes.tflite.clamp import clipped
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.operator import Operator, Unsupported
from edgekit.runtimes.tflite.params import Params
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
    left, right = (e.graph.shapes[name] for name in node.inputs[:2])
    if min(len(left), len(right)) < 2:
        raise Unsupported("a product with a vector", fix="export it as a product of matrices")
    if node.inputs[1] in e.graph.weights and all(size == 1 for size in right[:-2]) and len(right) <= len(left):
        matrix = e.weight(node.inputs[1]).reshape(right[-2:])
        _dense(e, node, matrix.T, channel_scales(e, node.inputs[1], len(right) - 1), 1.0)
    else:
        _batched(e, node)


def _batched(e: Emission, node: Node) -> None:
    """BATCH_MATMUL: one scale per operand, for its kernels misread scales per channel.

    The int8 kernel wants the right operand's rows as columns (``fuse`` sees to it where that is free), and is a dozen
    times slower unless its zero point is 0 (measured with ai-edge-litert 2.3 on x86-64).
    """
    if len(e.graph.shapes[node.outputs[0]]) > 5:
        raise Unsupported("a product over more than 5 dimensions", fix="reshape to at most 5 dimensions before it")
    inputs = [_factor(e, name) for name in node.inputs[:2]]
    adjoint = bool(node.attrs.get("adjoint"))
    clipped(e, node, "onnx", lambda target, _: e.op("BATCH_MATMUL", inputs, [target], "BatchMatMulOptions", adjY=adjoint), fuses=False)


def _factor(e: Emission, name: str) -> int:
    if name not in e.graph.weights:
        return e.read(name, "onnx")
    values = e.weight(name)
    scale = max(e.scales[name].scales) if name in e.scales else float(np.abs(values).max()) / INT8_MAX
    return e.constant(name, values, Params(float(np.float32(scale)), 0))


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
    rank = len(e.graph.shapes[node.outputs[0]])
    inputs = [source, *write_filter(e, node, values, 0, scales, bias, e.params[name])]

    def write(target: int, fused: int) -> None:
        e.op("FULLY_CONNECTED", inputs, [target], "FullyConnectedOptions", fusedActivationFunction=fused, keepNumDims=rank > 2)

    clipped(e, node, "onnx", write)


def _for_flat_image(values: Array, image: tuple[int, int, int]) -> Array:
    """Reorder the columns of a matrix that reads a flattened CHW image, for one flattened as HWC."""
    channels, height, width = image
    columns = np.arange(channels * height * width).reshape(channels, height, width).transpose(1, 2, 0).reshape(-1)
    return values[:, columns]


OPERATORS: Mapping[str, Operator] = MappingProxyType({"Gemm": Operator(_gemm), "MatMul": Operator(_matmul, symmetric=(1,))})
