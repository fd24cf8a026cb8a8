"""Arithmetic, value by value: sums, products, quotients, powers, the greater and the lesser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from edgekit.graph import Node
from edgekit.runtimes.tflite.broadcast import check_sum, common_layout, operand, operands
from edgekit.runtimes.tflite.clamp import clipped
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import arranged
from edgekit.runtimes.tflite.operator import Operator, Unsupported

__all__ = ["OPERATORS"]

Lowering = Callable[[Emission, Node], None]


def _binary(code: str, options: str) -> Lowering:
    def lower(e: Emission, node: Node) -> None:
        layout, inputs = operands(e, node)
        if code == "ADD" and e.dtype(node.outputs[0]) == "int8":
            check_sum(e, inputs, e.params[node.outputs[0]])
        clipped(e, node, layout, lambda target, fused: e.op(code, inputs, [target], options, fusedActivationFunction=fused))

    return lower


def _divide(e: Emission, node: Node) -> None:
    """DIV in float; by a constant, a product with its reciprocals."""
    divisor = node.inputs[1]
    if e.dtype(node.outputs[0]) == "int32":
        raise Unsupported("a quotient of whole numbers", fix="export the model without integer division")
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
    factor = e.constant(f"{divisor}/reciprocal", arranged(values, layout))
    inputs = [operand(e, node.inputs[0], rank, layout), factor]
    clipped(e, node, layout, lambda target, fused: e.op("MUL", inputs, [target], "MulOptions", fusedActivationFunction=fused))


def _power(e: Emission, node: Node) -> None:
    """A square is a product, in int8 too; a root and the others are float."""
    exponents = e.graph.weights.get(node.inputs[1])
    exponent = float(exponents.reshape(())) if exponents is not None and exponents.size == 1 else None
    layout = common_layout(e, node.inputs)
    if exponent == 2.0:
        source = e.read(node.inputs[0], layout)
        clipped(e, node, layout, lambda target, _: e.op("MUL", [source, source], [target], "MulOptions"), fuses=False)
        return
    if e.is_int8:
        raise Unsupported("TFLite has no int8 power but the square", fix="keep this node in float")
    if exponent == 0.5:
        e.op("SQRT", [e.read(node.inputs[0], layout)], [e.declare(node.outputs[0], layout)])
    else:
        layout, inputs = operands(e, node)
        e.op("POW", inputs, [e.declare(node.outputs[0], layout)], "PowOptions")


def _extreme(code: str) -> Lowering:
    """MAXIMUM or MINIMUM, two at a time; the int8 kernels do not rescale."""

    def lower(e: Emission, node: Node) -> None:
        out = node.outputs[0]
        rank, layout = len(e.graph.shapes[out]), common_layout(e, node.inputs)
        if rank > 4:
            raise Unsupported(f"it broadcasts over {rank} dimensions", fix="reshape to at most 4 dimensions before it")
        result, *others = (operand(e, name, rank, layout, e.params.get(out)) for name in node.inputs)
        if not others:
            e.reshape(result, e.declare(out, layout), e.shape(out, layout))
        for index, other in enumerate(others, 1):
            shape = np.broadcast_shapes(e.writer.shape(result), e.writer.shape(other))
            target = e.declare(out, layout) if index == len(others) else e.like(out, f"{out}/partial", shape=shape)
            e.op(code, [result, other], [target], "MaximumMinimumOptions")
            result = target

    return lower


def _negative(e: Emission, node: Node) -> None:
    name, out = node.inputs[0], node.outputs[0]
    source, layout = e.read(name), e.layout(name)
    if e.dtype(out) != "int8":
        e.op("NEG", [source], [e.declare(out, layout)], "NegOptions")
        return
    # There is no int8 NEG.
    factor = e.constant(f"{out}/factor", np.full([1] * len(e.graph.shapes[name]), -1.0))
    e.op("MUL", [source, factor], [e.declare(out, layout)], "MulOptions")


def _unary(code: str, options: str = "") -> Lowering:
    def lower(e: Emission, node: Node) -> None:
        source, layout = e.read(node.inputs[0]), e.layout(node.inputs[0])
        e.op(code, [source], [e.declare(node.outputs[0], layout)], options)

    return lower


def _reciprocal(e: Emission, node: Node) -> None:
    name, out = node.inputs[0], node.outputs[0]
    source, layout = e.read(name), e.layout(name)
    one = e.constant(f"{out}/one", np.ones([1] * len(e.graph.shapes[name])))
    e.op("DIV", [one, source], [e.declare(out, layout)], "DivOptions")


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "Abs": Operator(_unary("ABS", "AbsOptions"), light=True),
        "Add": Operator(_binary("ADD", "AddOptions"), light=True),
        "Ceil": Operator(_unary("CEIL"), float_only="TFLite has no int8 CEIL"),
        "Cos": Operator(_unary("COS", "CosOptions"), float_only="TFLite has no int8 COS"),
        "Div": Operator(_divide),
        "Exp": Operator(_unary("EXP", "ExpOptions")),
        "Floor": Operator(_unary("FLOOR"), float_only="TFLite has no int8 FLOOR"),
        "Log": Operator(_unary("LOG"), float_only="tflite-runtime has no int8 LOG"),
        "Max": Operator(_extreme("MAXIMUM"), same_scale=True, light=True),
        "Min": Operator(_extreme("MINIMUM"), same_scale=True, light=True),
        "Mul": Operator(_binary("MUL", "MulOptions"), light=True),
        "Neg": Operator(_negative, light=True),
        "Pow": Operator(_power),
        "Reciprocal": Operator(_reciprocal, float_only="TFLite's int8 DIV is not safe to run"),
        "Sin": Operator(_unary("SIN"), float_only="TFLite has no int8 SIN"),
        "Sqrt": Operator(_unary("SQRT"), float_only="tflite-runtime has no int8 SQRT"),
        "Sub": Operator(_binary("SUB", "SubOptions"), light=True),
    }
)
