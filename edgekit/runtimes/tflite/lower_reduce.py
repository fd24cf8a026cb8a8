"""Reductions: means, sums, products and extremes over any axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from edgekit.graph import Node
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import TO_NHWC, Layout, axis_in
from edgekit.runtimes.tflite.operator import Operator

__all__ = ["OPERATORS"]


def _reduce(code: str) -> Callable[[Emission, Node], None]:
    def lower(e: Emission, node: Node) -> None:
        name, out = node.inputs[0], node.outputs[0]
        axes, keep = set(node.attrs["axes"]), bool(node.attrs["keepdims"])
        layout = e.layout(name)
        if layout == "nhwc" and not keep:
            # Without the reduced axes the others must already stand in ONNX order.
            left = [axis for axis in TO_NHWC if axis not in axes]
            layout = "nhwc" if left == sorted(left) else "onnx"
        places = [axis_in(axis, layout) for axis in axes]
        result: Layout = layout if keep else "onnx"
        inputs = [e.read(name, layout), e.integers("axes", sorted(places))]
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
