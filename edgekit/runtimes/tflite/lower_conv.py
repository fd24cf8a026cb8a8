"""Convolutions: CONV_2D (also grouped) and DEPTHWISE_CONV_2D, with SAME, VALID or explicit padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from edgekit.graph import Node
from edgekit.runtimes.tflite.clamp import clipped
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.fuse import conv_padding
from edgekit.runtimes.tflite.operator import Operator, Unsupported
from edgekit.runtimes.tflite.weights import channel_scales, write_filter

__all__ = ["OPERATORS", "SAME", "VALID", "pad_image", "window_padding"]

# `Padding` of schema.fbs.
SAME, VALID = 0, 1


def _conv(e: Emission, node: Node) -> None:
    shape = e.graph.shapes[node.inputs[0]]
    if len(shape) != 4:
        raise Unsupported(f"a convolution over {len(shape) - 2} dimensions", fix="use 2-D convolutions (a 1-D one is 2-D with height 1)")
    filters = e.weight(node.inputs[1])
    bias = e.weight(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    group, channels = int(node.attrs.get("group", 1)), shape[1]
    strides = _pair(node, "strides")
    dilations = _pair(node, "dilations")
    padding, pads = window_padding(e, node, filters.shape[2:], strides, dilations)
    source = e.read(node.inputs[0], "nhwc")
    if any(pads):
        source = pad_image(e, node, source, pads)
    scales = channel_scales(e, node.inputs[1], 0)
    params = e.params[node.inputs[0]]
    depthwise = group == channels and group > 1
    # ONNX has O,I/g,H,W. TFLite has O,H,W,I/g and, depthwise, 1,H,W,O.
    values, axis = (filters.transpose(1, 2, 3, 0), 3) if depthwise else (filters.transpose(0, 2, 3, 1), 0)
    inputs = [source, *write_filter(e, node, values, axis, scales, bias, params)]
    fields = {
        "padding": padding,
        "strideH": strides[0],
        "strideW": strides[1],
        "dilationHFactor": dilations[0],
        "dilationWFactor": dilations[1],
    }

    def write(target: int, fused: int) -> None:
        if depthwise:
            multiplier = filters.shape[0] // group
            e.op(
                "DEPTHWISE_CONV_2D",
                inputs,
                [target],
                "DepthwiseConv2DOptions",
                depthMultiplier=multiplier,
                fusedActivationFunction=fused,
                **fields,
            )
        else:
            e.op("CONV_2D", inputs, [target], "Conv2DOptions", fusedActivationFunction=fused, **fields)

    clipped(e, node, "nhwc", write)


def _pair(node: Node, key: str) -> tuple[int, int]:
    height, width = node.attrs.get(key, (1, 1))
    return int(height), int(width)


def window_padding(
    e: Emission, node: Node, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[int, list[int]]:
    """Return (SAME or VALID, pads to write in front: begins then ends).

    SAME when its own rule gives the node's pads: out = ceil(in / stride), the odd pixel at the end
    (TensorFlow, "Notes on padding"). Pads that VALID leaves over are explicit.
    """
    size = e.graph.shapes[node.inputs[0]][2:]
    out = e.graph.shapes[node.outputs[0]][2:]
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    same_out = [-(-n // s) for n, s in zip(size, strides, strict=True)]
    totals = [max((o - 1) * s + k - n, 0) for o, s, k, n in zip(same_out, strides, spans, size, strict=True)]
    same = [t // 2 for t in totals] + [t - t // 2 for t in totals]
    auto = node.attrs.get("auto_pad", "NOTSET")
    pads = {
        "NOTSET": conv_padding(node),
        "VALID": [0] * 4,
        "SAME_UPPER": same,
        "SAME_LOWER": same[2:] + same[:2],
    }[auto]
    # A window that ends past the pads (ceil_mode) needs more of them at the end.
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


def pad_image(e: Emission, node: Node, source: int, pads: Sequence[int], *, least: bool = False) -> int:
    """Write a padding of an NHWC image, by zero or by the least value there is; return the padded tensor."""
    top, left, bottom, right = pads
    batch, height, width, channels = e.shape(node.inputs[0], "nhwc")
    params = e.params[node.inputs[0]]
    target = e.temporary(f"{node.name}/padded", (batch, top + height + bottom, left + width + right, channels), params)
    amounts = e.integers("pads", [[0, 0], [top, bottom], [left, right], [0, 0]])
    if not least:
        e.op("PAD", [source, amounts], [target], "PadOptions")
    else:
        real = np.full([1], params.lo if e.is_int8 else np.finfo(np.float32).min)
        e.op("PADV2", [source, amounts, e.constant("pad", real, params)], [target], "PadV2Options")
    return target


def _conv_transpose(e: Emission, node: Node) -> None:
    """TRANSPOSE_CONV; what its two paddings cannot say is the full result, sliced."""
    name, out = node.inputs[0], node.outputs[0]
    if len(e.graph.shapes[name]) != 4:
        raise Unsupported(f"a convolution over {len(e.graph.shapes[name]) - 2} dimensions", fix="use 2-D convolutions")
    if int(node.attrs.get("group", 1)) != 1 or any(d != 1 for d in node.attrs.get("dilations", [1, 1])):
        raise Unsupported("a transposed convolution with groups or dilation", fix="use a plain transposed convolution")
    if node.attrs.get("auto_pad", "NOTSET") != "NOTSET":
        raise Unsupported("its padding is automatic", fix="export the model with explicit pads")
    filters = e.weight(node.inputs[1])
    bias = e.weight(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    strides, begin = _pair(node, "strides"), conv_padding(node)[:2]
    size, wanted = e.graph.shapes[name][2:], e.graph.shapes[out][2:]
    full = [(n - 1) * s + k for n, s, k in zip(size, strides, filters.shape[2:], strict=True)]
    same = all(b == (f - w) // 2 and f >= w and -(-w // s) == n for b, f, w, s, n in zip(begin, full, wanted, strides, size, strict=True))
    if not same and any(b + w > f for b, w, f in zip(begin, wanted, full, strict=True)):
        raise Unsupported("its output is larger than its windows reach", fix="export the model with a smaller output_padding")
    whole = list(full) == list(wanted) and not any(begin)
    # ONNX has I,O,H,W; TFLite O,H,W,I.
    values = filters.transpose(1, 2, 3, 0)
    weights = write_filter(e, node, values, 0, channel_scales(e, node.inputs[1], 1), bias, e.params[name])
    batch, channels = e.graph.shapes[out][:2]
    shape = (batch, *(full if not same else wanted), channels)
    inputs = [e.integers("shape", shape), weights[0], e.read(name, "nhwc"), weights[1]]
    fields = {"padding": SAME if same and not whole else VALID, "strideH": strides[0], "strideW": strides[1]}

    def write(target: int, fused: int) -> None:
        direct = same or whole
        result = target if direct else e.temporary(f"{out}/full", shape, e.params[out])
        e.op("TRANSPOSE_CONV", inputs, [result], "TransposeConvOptions", fusedActivationFunction=fused, **fields)
        if not direct:
            first = [0, *begin, 0]
            last = [a + b for a, b in zip(first, e.shape(out, "nhwc"), strict=True)]
            e.strided_slice(result, target, first, last, [1] * 4)

    clipped(e, node, "nhwc", write)


OPERATORS: Mapping[str, Operator] = MappingProxyType({"Conv": Operator(_conv), "ConvTranspose": Operator(_conv_transpose)})
