"""Windows over images: which of TFLite's two paddings says a node's pads, and pads of their own where none does.

Used by the lowerings of convolutions and pools.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.graph import Node
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.fuse import conv_padding
from edgekit.runtimes.tflite.operator import Unsupported

__all__ = ["SAME", "VALID", "pad_or_crop", "pair", "window_padding"]

# `Padding` of schema.fbs.
SAME, VALID = 0, 1


def pair(node: Node, key: str) -> tuple[int, int]:
    """Return an attribute with one number per axis of an image; by default ones."""
    height, width = node.attrs.get(key, (1, 1))
    return int(height), int(width)


def window_padding(
    e: Emission, node: Node, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[int, list[int]]:
    """Return (SAME or VALID, pads to write in front: begins then ends).

    SAME when its own rule gives the node's pads: out = ceil(in / stride), the odd pixel at the end
    (TensorFlow, "Notes on padding"). Pads that VALID leaves over are explicit, those of windows that end
    past the node's pads (ceil_mode) included.

    Raises
    ------
    Unsupported
        A window sees nothing of the image.
    """
    size = e.graph.shapes[node.inputs[0]][2:]
    out = e.graph.shapes[node.outputs[0]][2:]
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    same_out = [-(-n // s) for n, s in zip(size, strides, strict=True)]
    totals = [max((o - 1) * s + k - n, 0) for o, s, k, n in zip(same_out, strides, spans, size, strict=True)]
    same = [t // 2 for t in totals] + [t - t // 2 for t in totals]
    pads = conv_padding(node)
    for axis in range(2):
        if node.attrs.get("ceil_mode") and (out[axis] - 1) * strides[axis] >= size[axis] + pads[axis]:
            raise Unsupported("its last window lies outside the image (ceil_mode)", fix="export the model without ceil_mode")
        reach = (out[axis] - 1) * strides[axis] + spans[axis]
        pads[2 + axis] = max(pads[2 + axis], reach - size[axis] - pads[axis])
    if not any(pads):
        return VALID, pads
    if pads == same and list(out) == same_out:
        return SAME, [0] * 4
    return VALID, pads


def pad_or_crop(e: Emission, name: str, source: int, pads: Sequence[int], *, least: bool = False) -> int:
    """Write a padding of an NHWC image and return its tensor.

    Parameters
    ----------
    name
        The activation whose scale the image has.
    pads
        Top, left, bottom, right; negative ones crop.
    least
        Pad by the least value there is instead of zero.
    """
    params = e.params[name]
    batch, height, width, channels = e.writer.shape(source)
    if min(pads) < 0:
        first = [0, max(-pads[0], 0), max(-pads[1], 0), 0]
        last = [batch, height - max(-pads[2], 0), width - max(-pads[3], 0), channels]
        height, width = last[1] - first[1], last[2] - first[2]
        cropped = e.temporary(f"{name}/cropped", (batch, height, width, channels), params)
        e.strided_slice(source, cropped, first, last, [1] * 4)
        source = cropped
    top, left, bottom, right = (max(amount, 0) for amount in pads)
    if not (top or left or bottom or right):
        return source
    target = e.temporary(f"{name}/padded", (batch, top + height + bottom, left + width + right, channels), params)
    amounts = e.integers("pads", [[0, 0], [top, bottom], [left, right], [0, 0]])
    if not least:
        e.op("PAD", [source, amounts], [target], "PadOptions")
    else:
        real = np.full([1], params.lo if e.is_int8 else np.finfo(np.float32).min)
        e.op("PADV2", [source, amounts, e.constant("pad", real, params)], [target], "PadV2Options")
    return target
