"""Choosing and comparing: lookups, masks, truth values, positions of the greatest. Whole numbers are int32 in the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from edgekit.graph import Node
from edgekit.runtimes.tflite.broadcast import common_layout, operand, operands
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import ONNX, Layout, axis_in, in_layout, last, reduced
from edgekit.runtimes.tflite.operator import Operator, Unsupported
from edgekit.runtimes.tflite.schema import schema

__all__ = ["OPERATORS"]

Lowering = Callable[[Emission, Node], None]


def _gather(e: Emission, node: Node) -> None:
    """GATHER; of a constant, a table: in int8 with the scale of what was seen to come out of it."""
    name, picks, out = node.inputs[0], node.inputs[1], node.outputs[0]
    shape = e.graph.shapes[name]
    axis = int(node.attrs.get("axis", 0)) % len(shape)
    if picks in e.graph.weights:
        indices = e.integers(picks, e.graph.weights[picks] % shape[axis])
    else:
        indices = e.read(picks, ONNX)
    constant = name in e.graph.weights
    rank, found = len(shape), len(e.graph.shapes[picks])
    layout: Layout = ONNX if constant or found > 1 else e.layout(name)
    # One index after another along an axis leaves the others as they stood, a single one takes the axis away.
    result = layout if found == 1 else reduced(layout, [axis], rank) if found == 0 else ONNX
    source = e.literal(name, e.weight(name), e.params.get(out)) if constant else e.read(name, layout)
    e.op("GATHER", [source, indices], [e.declare(out, result)], "GatherOptions", axis=axis_in(axis, layout))


def _where(e: Emission, node: Node) -> None:
    out = node.outputs[0]
    rank, layout = len(e.graph.shapes[out]), common_layout(e, node.inputs)
    if rank > 4:
        raise Unsupported(f"it broadcasts over {rank} dimensions", fix="reshape to at most 4 dimensions before it")
    inputs = [operand(e, name, rank, layout, e.params.get(out)) for name in node.inputs]
    e.op("SELECT_V2", inputs, [e.declare(out, layout)], "SelectV2Options")


def _compare(code: str, options: str) -> Lowering:
    def lower(e: Emission, node: Node) -> None:
        layout, inputs = operands(e, node)
        e.op(code, inputs, [e.declare(node.outputs[0], layout)], options)

    return lower


def _not(e: Emission, node: Node) -> None:
    source, layout = e.read(node.inputs[0]), e.layout(node.inputs[0])
    e.op("LOGICAL_NOT", [source], [e.declare(node.outputs[0], layout)], "LogicalNotOptions")


def _cast(e: Emission, node: Node) -> None:
    name, out = node.inputs[0], node.outputs[0]
    source, layout = e.read(name), e.layout(name)
    before, after = e.dtype(name), e.dtype(out)
    if before == after:
        e.hand_on(out, layout, source)
        return
    kinds = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32, "bool": schema.TensorType.BOOL}
    target = e.declare(out, layout)
    e.op("CAST", [source], [target], "CastOptions", inDataType=kinds[before], outDataType=kinds[after])


def _arg(code: str, options: str) -> Lowering:
    def lower(e: Emission, node: Node) -> None:
        name, out = node.inputs[0], node.outputs[0]
        if node.attrs.get("select_last_index"):
            raise Unsupported("of equals it takes the last (select_last_index)", fix="export it without select_last_index")
        rank, layout, keep = len(e.graph.shapes[name]), e.layout(name), bool(node.attrs.get("keepdims", 1))
        axis = int(node.attrs.get("axis", 0)) % rank
        result = layout if keep else reduced(layout, [axis], rank)
        place = axis_in(axis, layout)
        inputs = [e.read(name, layout), e.integers("axis", place)]
        target = e.declare(out, result)
        found = target
        if keep:
            shape = [size for index, size in enumerate(e.shape(name, layout)) if index != place]
            found = e.like(out, f"{out}/found", shape=shape)
        e.op(code, inputs, [found], options, outputType=schema.TensorType.INT32)
        if keep:
            e.reshape(found, target, e.shape(out, result))

    return lower


def _top_k(e: Emission, node: Node) -> None:
    """TOPK_V2, which takes the largest, in order, along the last axis."""
    name = node.inputs[0]
    rank = len(e.graph.shapes[name])
    layout = last(e.layout(name), int(node.attrs.get("axis", -1)) % rank, rank)
    if not node.attrs.get("largest", 1):
        raise Unsupported("it takes the least values", fix="export it as the largest of the negative")
    source, count = e.read(name, layout), e.integers("k", int(e.weight(node.inputs[1]).reshape(())))
    values, places = node.outputs
    found = e.declare(values, layout) if values else e.like(name, f"{places}/values", shape=e.shape(places, layout))
    e.op("TOPK_V2", [source, count], [found, e.declare(places, layout)], "TopKV2Options")


def _expand(e: Emission, node: Node) -> None:
    name, out = node.inputs[0], node.outputs[0]
    before, after = e.graph.shapes[name], e.graph.shapes[out]
    layout = common_layout(e, [name]) if len(before) == len(after) else ONNX
    source = operand(e, name, len(after), layout)
    if e.writer.shape(source) == e.shape(out, layout):
        e.hand_on(out, layout, source)
        return
    shape = e.integers("shape", e.shape(out, layout))
    e.op("BROADCAST_TO", [source, shape], [e.declare(out, layout)], "BroadcastToOptions")


def _tile(e: Emission, node: Node) -> None:
    name, out = node.inputs[0], node.outputs[0]
    layout = e.layout(name)
    repeats = e.integers("repeats", in_layout(e.weight(node.inputs[1]).tolist(), layout))
    e.op("TILE", [e.read(name), repeats], [e.declare(out, layout)], "TileOptions")


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "And": Operator(_compare("LOGICAL_AND", "LogicalAndOptions")),
        "ArgMax": Operator(_arg("ARG_MAX", "ArgMaxOptions")),
        "ArgMin": Operator(_arg("ARG_MIN", "ArgMinOptions")),
        "Cast": Operator(_cast, float_only="whole numbers become real ones as float32"),
        "Equal": Operator(_compare("EQUAL", "EqualOptions")),
        "Expand": Operator(_expand, same_scale=True, moves=True),
        "Gather": Operator(_gather, same_scale=True, moves=True),
        "Greater": Operator(_compare("GREATER", "GreaterOptions")),
        "GreaterOrEqual": Operator(_compare("GREATER_EQUAL", "GreaterEqualOptions")),
        "Less": Operator(_compare("LESS", "LessOptions")),
        "LessOrEqual": Operator(_compare("LESS_EQUAL", "LessEqualOptions")),
        "Not": Operator(_not),
        "Or": Operator(_compare("LOGICAL_OR", "LogicalOrOptions")),
        "Tile": Operator(_tile, same_scale=True, moves=True),
        "TopK": Operator(_top_k, same_scale=True, moves=True),
        "Where": Operator(_where, same_scale=True, moves=True),
        "Xor": Operator(_compare("NOT_EQUAL", "NotEqualOptions")),
    }
)
