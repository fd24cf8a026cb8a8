"""Arithmetic, value by value: sums, products, quotients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from edgekit.graph import Node
from edgekit.runtimes.tflite.broadcast import check_sum, operand, operands
from edgekit.runtimes.tflite.clamp import clipped
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import TO_NHWC
from edgekit.runtimes.tflite.operator import Operator, Unsupported

__all__ = ["OPERATORS"]


def _binary(code: str, options: str) -> Callable[[Emission, Node], None]:
    def lower(e: Emission, node: Node) -> None:
        layout, inputs = operands(e, node)
        if code == "ADD" and e.dtype(node.outputs[0]) == "int8":
            check_sum(e, inputs, e.params[node.outputs[0]])
        clipped(e, node, layout, lambda target, fused: e.op(code, inputs, [target], options, fusedActivationFunction=fused))

    return lower


def _divide(e: Emission, node: Node) -> None:
    """DIV in float; by a constant, a product with its reciprocals."""
    divisor = node.inputs[1]
    if divisor not in e.graph.weights:
        if e.is_int8:
            raise Unsupported("TFLite's int8 DIV is not safe to run", fix="replace it by a product, or keep this node in float")
        layout, inputs = operands(e, node)
        clipped(e, node, layout, lambda target, fused: e.op("DIV", inputs, [target], "DivOptions", fusedActivationFunction=fused))
        return
    layout = e.layout(node.inputs[0])
    rank = len(e.graph.shapes[node.outputs[0]])
    shape = e.graph.shapes[divisor]
    values = (1.0 / e.graph.weights[divisor].astype(np.float64)).reshape((1,) * (rank - len(shape)) + tuple(shape))
    factor = e.constant(f"{divisor}/reciprocal", values.transpose(TO_NHWC) if layout == "nhwc" else values)
    inputs = [operand(e, node.inputs[0], rank, layout), factor]
    clipped(e, node, layout, lambda target, fused: e.op("MUL", inputs, [target], "MulOptions", fusedActivationFunction=fused))


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "Add": Operator(_binary("ADD", "AddOptions")),
        "Div": Operator(_divide),
        "Mul": Operator(_binary("MUL", "MulOptions")),
        "Sub": Operator(_binary("SUB", "SubOptions")),
    }
)
