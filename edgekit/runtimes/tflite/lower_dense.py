"""Matrix products: FULLY_CONNECTED by a constant, BATCH_MATMUL of two activations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from edgekit.graph import Array, Node
from edgekit.plan import INT8_MAX
from edgekit.runtimes.scales import Params
from edgekit.runtimes.tflite.clamp import clipped
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import ONNX, Layout, arranged, last
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

    The int8 kernel wants the columns of the right operand as rows, which is said by ``adjY``, and is a dozen times
    slower unless its zero point is 0 (measured with ai-edge-litert 2.3 on x86-64).
    """
    if len(e.graph.shapes[node.outputs[0]]) > 5:
        raise Unsupported("a product over more than 5 dimensions", fix="reshape to at most 5 dimensions before it")
    left, right = node.inputs[:2]
    rank = len(e.graph.shapes[right])
    # One that is moved anyway is moved so that the kernel need not do it again.
    adjoint = right not in e.graph.weights and rank > 1 and not e.stands_as(right, ONNX)
    inputs = [_factor(e, left, ONNX), _factor(e, right, (*range(rank - 2), rank - 1, rank - 2) if adjoint else ONNX)]
    clipped(e, node, ONNX, lambda target, _: e.op("BATCH_MATMUL", inputs, [target], "BatchMatMulOptions", adjY=adjoint), fuses=False)


def _factor(e: Emission, name: str, layout: Layout) -> int:
    if name not in e.graph.weights:
        return e.read(name, layout)
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
    rank = len(e.graph.shapes[name])
    # Rows of more dimensions may stand in any order, unless they are counted as one behind (``fuse``).
    same = len(e.graph.shapes[node.outputs[0]]) == rank
    layout = last(e.layout(name), rank - 1, rank) if same else ONNX
    if name in e.flat:
        values = _for_flat(values, *e.flat[name])
    source = e.read(name, layout)
    inputs = [source, *write_filter(e, node, values, 0, scales, bias, e.params[name])]

    def write(target: int, fused: int) -> None:
        e.op("FULLY_CONNECTED", inputs, [target], "FullyConnectedOptions", fusedActivationFunction=fused, keepNumDims=same and rank > 2)

    clipped(e, node, layout, write)


def _for_flat(values: Array, shape: Sequence[int], layout: Layout) -> Array:
    """Reorder the columns of a matrix that reads a flattened tensor, for one flattened in the file's order."""
    columns = arranged(np.arange(math.prod(shape[1:])).reshape(1, *shape[1:]), layout).reshape(-1)
    return values[:, columns]


OPERATORS: Mapping[str, Operator] = MappingProxyType({"Gemm": Operator(_gemm), "MatMul": Operator(_matmul, symmetric=(1,))})
