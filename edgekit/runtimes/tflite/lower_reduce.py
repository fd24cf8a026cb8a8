"""Reductions: means, sums, products and extremes over any axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from edgekit.graph import Node
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import axis_in, reduced
from edgekit.runtimes.tflite.operator import Operator

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


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        # Of the int8 kernels, MEAN and SUM rescale.
        "ReduceMax": Operator(_reduce("REDUCE_MAX"), same_scale=True, moves=True),
        "ReduceMean": Operator(_reduce("MEAN"), light=True),
        "ReduceMin": Operator(_reduce("REDUCE_MIN"), same_scale=True, moves=True),
        "ReduceProd": Operator(_reduce("REDUCE_PROD"), float_only="TFLite has no int8 REDUCE_PROD"),
        "ReduceSum": Operator(_reduce("SUM"), light=True),
    }
)
