"""Pooling: MAX_POOL_2D and AVERAGE_POOL_2D, with whatever padding ONNX can say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from edgekit.graph import Array, Node
from edgekit.plan import INT8_MAX, INT8_MIN
from edgekit.runtimes.scales import Params
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.fuse import conv_padding
from edgekit.runtimes.tflite.layout import NHWC
from edgekit.runtimes.tflite.operator import Operator, Unsupported
from edgekit.runtimes.tflite.window import VALID, pad_or_crop, pair, window_padding

__all__ = ["OPERATORS"]

_LEVELS = INT8_MAX - INT8_MIN


def _max_pool(e: Emission, node: Node) -> None:
    kernel = _kernel(e, node)
    padding, pads = window_padding(e, node, kernel, pair(node, "strides"), (1, 1))
    # The least value there is never wins.
    source = pad_or_crop(e, node.inputs[0], e.read(node.inputs[0], NHWC), pads, least=True)
    _pool(e, node, "MAX_POOL_2D", source, e.declare(node.outputs[0], NHWC), padding)


def _average_pool(e: Emission, node: Node) -> None:
    """AVERAGE_POOL_2D; where its own count of a window's pixels is not the node's, one over zeros, put right by a product."""
    out, kernel = node.outputs[0], _kernel(e, node)
    padding, pads = window_padding(e, node, kernel, pair(node, "strides"), (1, 1))
    source = e.read(node.inputs[0], NHWC)
    counted = bool(node.attrs.get("count_include_pad")) and any(conv_padding(node))
    if not any(pads) and not counted:
        _pool(e, node, "AVERAGE_POOL_2D", source, e.declare(out, NHWC), padding)
        return
    counts = _counts(e, node, kernel, include_pads=counted)
    padded = pad_or_crop(e, node.inputs[0], source, _reached(e, node, kernel))
    gain = kernel[0] * kernel[1] / counts
    if (gain == 1.0).all():
        _pool(e, node, "AVERAGE_POOL_2D", padded, e.declare(out, NHWC), VALID)
        return
    short = e.like(out, f"{out}/short", NHWC)
    _pool(e, node, "AVERAGE_POOL_2D", padded, short, VALID)
    # One is a level of this scale: windows that see no padding stay as they are.
    levels = Params(float(np.float32(1.0 / np.floor(_LEVELS / gain.max()))), INT8_MIN)
    e.op("MUL", [short, e.constant(f"{out}/gain", gain[None, :, :, None], levels)], [e.declare(out, NHWC)], "MulOptions")


def _reached(e: Emission, node: Node, kernel: Sequence[int]) -> list[int]:
    """Return every pad that the windows reach, begins then ends; what no window reaches is cut off."""
    size, out = e.graph.shapes[node.inputs[0]][2:], e.graph.shapes[node.outputs[0]][2:]
    begin = conv_padding(node)[:2]
    reach = [(o - 1) * s + k for o, s, k in zip(out, pair(node, "strides"), kernel, strict=True)]
    return [*begin, *(r - n - b for r, n, b in zip(reach, size, begin, strict=True))]


def _counts(e: Emission, node: Node, kernel: Sequence[int], *, include_pads: bool) -> Array:
    """Return over how many pixels each window averages; what lies past the node's own pads never counts (ceil_mode)."""
    size, out = e.graph.shapes[node.inputs[0]][2:], e.graph.shapes[node.outputs[0]][2:]
    pads, along = conv_padding(node), []
    for axis, (n, o, s, k) in enumerate(zip(size, out, pair(node, "strides"), kernel, strict=True)):
        first = np.arange(o) * s - pads[axis]
        lo, hi = (-pads[axis], n + pads[axis + 2]) if include_pads else (0, n)
        along.append(np.minimum(first + k, hi) - np.maximum(first, lo))
    counts: Array = along[0][:, None] * along[1][None, :]
    return counts


def _kernel(e: Emission, node: Node) -> tuple[int, int]:
    shape = e.graph.shapes[node.inputs[0]]
    if len(shape) != 4:
        raise Unsupported(f"pooling over {len(shape) - 2} dimensions", fix="use pooling over one or two dimensions")
    if pair(node, "dilations") != (1, 1):
        raise Unsupported("its window is dilated", fix="use pooling without dilation")
    if len([name for name in node.outputs if name]) > 1:
        raise Unsupported("the places of its maxima are read too", fix="export the model without MaxUnpool")
    return shape[2:] if node.op == "GlobalMaxPool" else pair(node, "kernel_shape")


def _pool(e: Emission, node: Node, code: str, source: int, target: int, padding: int) -> None:
    (height, width), (down, across) = _kernel(e, node), pair(node, "strides")
    fields = {"padding": padding, "strideH": down, "strideW": across, "filterHeight": height, "filterWidth": width}
    e.op(code, [source], [target], "Pool2DOptions", **fields)


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        # Their int8 kernels do not rescale.
        "AveragePool": Operator(_average_pool, same_scale=True),
        "GlobalMaxPool": Operator(_max_pool, same_scale=True, moves=True),
        "MaxPool": Operator(_max_pool, same_scale=True, moves=True),
    }
)
