"""Pooling and means: MAX_POOL_2D, AVERAGE_POOL_2D, MEAN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from edgekit.graph import Node
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.fuse import conv_padding
from edgekit.runtimes.tflite.layout import TO_NHWC, Layout, axis_in
from edgekit.runtimes.tflite.lower_conv import VALID, pad_image, window_padding
from edgekit.runtimes.tflite.operator import Operator, Unsupported

__all__ = ["OPERATORS"]


def _mean(e: Emission, node: Node) -> None:
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
    e.op("MEAN", inputs, [e.declare(out, result)], "ReducerOptions", keepDims=keep)


def _max_pool(e: Emission, node: Node) -> None:
    _check_window(e, node)
    kernel = e.graph.shapes[node.inputs[0]][2:] if node.op == "GlobalMaxPool" else node.attrs["kernel_shape"]
    strides = node.attrs.get("strides", [1, 1])
    padding, pads = window_padding(e, node, kernel, strides, (1, 1))
    source = e.read(node.inputs[0], "nhwc")
    if any(pads):
        # The least value there is never wins.
        source = pad_image(e, node, source, pads, least=True)
    _pool(e, node, "MAX_POOL_2D", source, padding, kernel, strides)


def _average_pool(e: Emission, node: Node) -> None:
    _check_window(e, node)
    kernel, strides = node.attrs["kernel_shape"], node.attrs.get("strides", [1, 1])
    padding, pads = window_padding(e, node, kernel, strides, (1, 1))
    source = e.read(node.inputs[0], "nhwc")
    fix = "use the padding of TFLite's SAME, or none"
    if node.attrs.get("count_include_pad"):
        declared = conv_padding(node)
        if not _fills_exactly(e, node, declared):
            raise Unsupported("it counts padding that its window rounds up to", fix=fix)
        if any(declared):
            source, padding = pad_image(e, node, source, declared), VALID
    elif any(pads):
        raise Unsupported(f"it averages around the pads {pads} without counting them", fix=fix)
    _pool(e, node, "AVERAGE_POOL_2D", source, padding, kernel, strides)


def _fills_exactly(e: Emission, node: Node, pads: Sequence[int]) -> bool:
    """Tell whether windows over the padded image, none past its end, give the node's output size."""
    size, out = e.graph.shapes[node.inputs[0]][2:], e.graph.shapes[node.outputs[0]][2:]
    kernel, strides = node.attrs["kernel_shape"], node.attrs.get("strides", [1, 1])
    return all((size[a] + pads[a] + pads[a + 2] - kernel[a]) // strides[a] + 1 == out[a] for a in range(2))


def _check_window(e: Emission, node: Node) -> None:
    rank = len(e.graph.shapes[node.inputs[0]])
    if rank != 4:
        raise Unsupported(f"pooling over {rank - 2} dimensions", fix="use 2-D pooling")
    if any(d != 1 for d in node.attrs.get("dilations", [1, 1])):
        raise Unsupported("its window is dilated", fix="use pooling without dilation")


def _pool(e: Emission, node: Node, code: str, source: int, padding: int, kernel: Sequence[int], strides: Sequence[int]) -> None:
    fields = {"padding": padding, "strideH": strides[0], "strideW": strides[1], "filterHeight": kernel[0], "filterWidth": kernel[1]}
    e.op(code, [source], [e.declare(node.outputs[0], "nhwc")], "Pool2DOptions", **fields)


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        # The pooling kernels do not rescale; MEAN does.
        "AveragePool": Operator(_average_pool, same_scale=True),
        "GlobalMaxPool": Operator(_max_pool, same_scale=True, moves=True),
        "MaxPool": Operator(_max_pool, same_scale=True, moves=True),
        "ReduceMean": Operator(_mean),
    }
)
