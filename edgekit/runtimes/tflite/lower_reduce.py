"""Reductions: means, sums, products and extremes over any axes; and running sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from edgekit.graph import Node
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import ONNX, axis_in, reduced
from edgekit.runtimes.tflite.operator import Operator, Unsupported

__all__ = ["OPERATORS"]


def _reduce(code: str) -> Callable[[Emission, Node], None]:
    def lower(e: Emission, node: Node) -> None:
        name, out = node.inputs[0], node.outputs[0]
        axes, keep = set(node.attrs["axes"]), bool(node.attrs["keepdims"])
        layout = e.layout(name)
        result = layout if keep else reduced(layout, axes, len(e.graph.shapes[name]))
        inputs = [e.read(name), e.integers("axes", sorted(axis_in(axis, layout) for axis in axes))]
        e.op(code, inputs, [e.declare(out, result)], "ReducerOptions", keepDims=keep)

    return lower


def _running_sum(e: Emission, node: Node) -> None:
    name, out = node.inputs[0], node.outputs[0]
    if e.dtype(out) == "int8":
        raise Unsupported("TFLite has no int8 CUMSUM", fix="keep this node in float")
    axis = int(e.weight(node.inputs[1]).reshape(())) % len(e.graph.shapes[name])
    inputs = [e.read(name, ONNX), e.integers("axis", axis)]
    options = {key: bool(node.attrs.get(key, 0)) for key in ("exclusive", "reverse")}
    e.op("CUMSUM", inputs, [e.declare(out, ONNX)], "CumsumOptions", **options)


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "CumSum": Operator(_running_sum),
        # Of the int8 kernels, MEAN and SUM rescale.
        "ReduceMax": Operator(_reduce("REDUCE_MAX"), same_scale=True, moves=True),
        "ReduceMean": Operator(_reduce("MEAN"), light=True),
        "ReduceMin": Operator(_reduce("REDUCE_MIN"), same_scale=True, moves=True),
        "ReduceProd": Operator(_reduce("REDUCE_PROD"), float_only="TFLite has no int8 REDUCE_PROD"),
        "ReduceSum": Operator(_reduce("SUM"), light=True),
    }
)
