"""Convolutions: CONV_2D (also grouped), DEPTHWISE_CONV_2D and TRANSPOSE_CONV, with SAME, VALID or explicit padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from edgekit.graph import Array, Node
from edgekit.runtimes.tflite.clamp import clipped
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.fuse import conv_padding
from edgekit.runtimes.tflite.layout import NHWC
from edgekit.runtimes.tflite.operator import Operator, Unsupported
from edgekit.runtimes.tflite.weights import channel_scales, write_filter
from edgekit.runtimes.tflite.window import SAME, VALID, pad_or_crop, pair, window_padding

__all__ = ["OPERATORS"]


def _conv(e: Emission, node: Node) -> None:
    _check_rank(e, node)
    filters = e.weight(node.inputs[1])
    strides, dilations = pair(node, "strides"), pair(node, "dilations")
    padding, pads = window_padding(e, node, filters.shape[2:], strides, dilations)
    source = pad_or_crop(e, node.inputs[0], e.read(node.inputs[0], NHWC), pads)
    scales = channel_scales(e, node.inputs[1], 0)
    clipped(e, node, NHWC, _windowed(e, node, source, filters, scales, padding, strides, dilations))


def _check_rank(e: Emission, node: Node) -> None:
    rank = len(e.graph.shapes[node.inputs[0]])
    if rank != 4:
        raise Unsupported(f"a convolution over {rank - 2} dimensions", fix="use convolutions of one or two dimensions")


def _bias(e: Emission, node: Node) -> Array | None:
    return e.weight(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None


def _windowed(
    e: Emission, node: Node, source: int, filters: Array, scales: Array, padding: int, strides: Sequence[int], dilations: Sequence[int]
) -> Callable[[int, int], None]:
    """Return what writes the convolution of an NHWC tensor with ``filters`` [out, in / group, height, width]."""
    channels = e.writer.shape(source)[3]
    group = channels // filters.shape[1]
    depthwise = group == channels and group > 1
    # TFLite has O,H,W,I/g and, depthwise, 1,H,W,O.
    values, axis = (filters.transpose(1, 2, 3, 0), 3) if depthwise else (filters.transpose(0, 2, 3, 1), 0)
    inputs = [source, *write_filter(e, node, values, axis, scales, _bias(e, node), e.params[node.inputs[0]])]
    fields = {
        "padding": padding,
        "strideH": strides[0],
        "strideW": strides[1],
        "dilationHFactor": dilations[0],
        "dilationWFactor": dilations[1],
    }
    if depthwise:
        fields["depthMultiplier"] = filters.shape[0] // group
    code, options = ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions") if depthwise else ("CONV_2D", "Conv2DOptions")
    return lambda target, fused: e.op(code, inputs, [target], options, fusedActivationFunction=fused, **fields)


def _conv_transpose(e: Emission, node: Node) -> None:
    _check_rank(e, node)
    plain = int(node.attrs.get("group", 1)) == 1 and pair(node, "dilations") == (1, 1)
    if plain and _reaches(e, node):
        _transpose_conv(e, node)
    else:
        _spread_conv(e, node)


def _full(e: Emission, node: Node) -> list[int]:
    """Return the size of the result before anything is cut off it."""
    size, kernel = e.graph.shapes[node.inputs[0]][2:], e.graph.shapes[node.inputs[1]][2:]
    return [(n - 1) * s + k for n, s, k in zip(size, pair(node, "strides"), kernel, strict=True)]


def _reaches(e: Emission, node: Node) -> bool:
    """Tell whether the windows cover the whole output; ``output_padding`` may be more."""
    wanted = e.graph.shapes[node.outputs[0]][2:]
    return all(b + w <= f for b, w, f in zip(conv_padding(node), wanted, _full(e, node), strict=False))


def _transpose_conv(e: Emission, node: Node) -> None:
    """TRANSPOSE_CONV; what its two paddings cannot say is the full result, sliced."""
    name, out = node.inputs[0], node.outputs[0]
    strides, begin = pair(node, "strides"), conv_padding(node)[:2]
    size, wanted, full = e.graph.shapes[name][2:], e.graph.shapes[out][2:], _full(e, node)
    same = all(b == (f - w) // 2 and f >= w and -(-w // s) == n for b, f, w, s, n in zip(begin, full, wanted, strides, size, strict=True))
    whole = list(full) == list(wanted) and not any(begin)
    # ONNX has I,O,H,W; TFLite O,H,W,I.
    values = e.weight(node.inputs[1]).transpose(1, 2, 3, 0)
    weights = write_filter(e, node, values, 0, channel_scales(e, node.inputs[1], 1), _bias(e, node), e.params[name])
    batch, channels = e.graph.shapes[out][:2]
    shape = (batch, *(full if not same else wanted), channels)
    inputs = [e.integers("shape", shape), weights[0], e.read(name, NHWC), weights[1]]
    fields = {"padding": SAME if same and not whole else VALID, "strideH": strides[0], "strideW": strides[1]}

    def write(target: int, fused: int) -> None:
        direct = same or whole
        result = target if direct else e.temporary(f"{out}/full", shape, e.params[out])
        e.op("TRANSPOSE_CONV", inputs, [result], "TransposeConvOptions", fusedActivationFunction=fused, **fields)
        if not direct:
            first = [0, *begin, 0]
            last = [a + b for a, b in zip(first, e.shape(out, NHWC), strict=True)]
            e.strided_slice(result, target, first, last, [1] * 4)

    clipped(e, node, NHWC, write)


def _spread_conv(e: Emission, node: Node) -> None:
    """A transposed convolution with groups or dilation: that of the image with zeros between its pixels by the turned filter.

    (Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", section 4.)
    """
    name = node.inputs[0]
    group, strides, dilations = int(node.attrs.get("group", 1)), pair(node, "strides"), pair(node, "dilations")
    filters = e.weight(node.inputs[1])[:, :, ::-1, ::-1]
    inner, outer = filters.shape[0] // group, filters.shape[1]
    # ONNX has I,O/g,H,W; a convolution O,I/g,H,W.
    turned = filters.reshape(group, inner, outer, *filters.shape[2:]).swapaxes(1, 2).reshape(group * outer, inner, *filters.shape[2:])
    source = _spread(e, name, strides)
    wanted = e.graph.shapes[node.outputs[0]][2:]
    spans = [(k - 1) * d for k, d in zip(filters.shape[2:], dilations, strict=True)]
    before = [span - pad for span, pad in zip(spans, conv_padding(node), strict=False)]
    size = e.writer.shape(source)[1:3]
    after = [o + span - n - first for o, span, n, first in zip(wanted, spans, size, before, strict=True)]
    source = pad_or_crop(e, name, source, [*before, *after])
    scales = np.tile(channel_scales(e, node.inputs[1], 1), group)
    clipped(e, node, NHWC, _windowed(e, node, source, np.ascontiguousarray(turned), scales, VALID, (1, 1), dilations))


def _spread(e: Emission, name: str, strides: tuple[int, int]) -> int:
    """Return an NHWC image with zeros between its pixels: channels of zeros that DEPTH_TO_SPACE puts there."""
    source = e.read(name, NHWC)
    step = max(strides)
    if step == 1:
        return source
    if strides[0] != strides[1] and min(strides) != 1:
        raise Unsupported(f"a transposed convolution with groups or dilation and strides {list(strides)}", fix="use equal strides")
    batch, height, width, channels = e.writer.shape(source)
    params = e.params[name]
    wide = e.temporary(f"{name}/widened", (batch, height, width, channels * step * step), params)
    amounts = e.integers("pads", [[0, 0], [0, 0], [0, 0], [0, channels * (step * step - 1)]])
    e.op("PAD", [source, amounts], [wide], "PadOptions")
    spread = e.temporary(f"{name}/spread", (batch, height * step, width * step, channels), params)
    e.op("DEPTH_TO_SPACE", [wide], [spread], "DepthToSpaceOptions", blockSize=step)
    if strides[0] == strides[1]:
        return spread
    # Along the axis without stride every other row is one of zeros.
    kept = (batch, height * strides[0], width * strides[1], channels)
    thinned = e.temporary(f"{name}/thinned", kept, params)
    e.strided_slice(spread, thinned, [0] * 4, e.writer.shape(spread), [1, step // strides[0], step // strides[1], 1])
    return thinned


OPERATORS: Mapping[str, Operator] = MappingProxyType({"Conv": Operator(_conv), "ConvTranspose": Operator(_conv_transpose)})
