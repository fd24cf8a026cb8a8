"""Operators that move values without computing: reshapes, transpositions, slices, concatenations, padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from edgekit.graph import Node
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import TO_NHWC, TO_ONNX, Layout, axis_in, in_layout, order_survives, permuted
from edgekit.runtimes.tflite.operator import Operator, Unsupported

__all__ = ["OPERATORS"]

# Nodes that read their first input as an NHWC image.
_IMAGE_READERS = frozenset({"AveragePool", "Conv", "ConvTranspose", "DepthToSpace", "GlobalMaxPool", "MaxPool", "Resize"})


def _reshape(e: Emission, node: Node) -> None:
    """Reshape, Flatten, Squeeze, Unsqueeze (and an Identity that makes an output): RESHAPE, the values in ONNX order."""
    name, out = node.inputs[0], node.outputs[0]
    image = len(e.graph.shapes[name]) == 4 and e.layout(name) == "nhwc" and not e.same_order(name)
    if image and node.op in ("Identity", "Dropout"):
        e.hand_on(out, "nhwc", e.read(name))
        return
    if image and _feeds_matrices(e, node):
        source = e.read(name)
        channels, height, width = e.graph.shapes[name][1:]
        e.flat[out] = (channels, height, width)
    else:
        source = e.read(name, "onnx" if image else None)
    layout: Layout = "nhwc" if len(e.graph.shapes[out]) == 4 and e.same_order(out) else "onnx"
    e.hand_on(out, layout, source)


def _feeds_matrices(e: Emission, node: Node) -> bool:
    """Tell whether a node flattens an image for constant matrices alone: those can be reordered instead."""
    before, out = e.graph.shapes[node.inputs[0]], node.outputs[0]
    readers = e.graph.consumers.get(out, ())
    return (
        e.graph.shapes[out] == (before[0], int(np.prod(before[1:])))
        and out not in {spec.name for spec in e.graph.outputs}
        and all(
            reader.op in ("Gemm", "MatMul")
            and reader.inputs[0] == out
            and reader.inputs[1] in e.graph.weights
            and not reader.attrs.get("transA")
            for reader in readers
        )
    )


def _transpose(e: Emission, node: Node) -> None:
    """TRANSPOSE into the layout in which it is least work: none where that turns the file's own order back."""
    name, out = node.inputs[0], node.outputs[0]
    rank, source = len(e.graph.shapes[name]), e.read(name)
    perm: Sequence[int] = node.attrs.get("perm", list(range(rank))[::-1])
    # From the input's order in the file to ONNX order, through the node's own permutation, to the output's order in the file.
    if e.layout(name) == "nhwc":
        perm = permuted(TO_ONNX, perm)
    wanted: dict[Layout, Sequence[int]] = {"onnx": perm}
    if rank == 4:
        wanted["nhwc"] = permuted(perm, TO_NHWC)
    shape = e.writer.shape(source)
    for layout, order in wanted.items():
        if order_survives(shape, order):
            e.hand_on(out, layout, source)
            return
    if rank > 6:
        raise Unsupported(f"a transposition of {rank} dimensions", fix="reshape to at most 6 dimensions before it")
    image = rank == 4 and any(reader.op in _IMAGE_READERS for reader in e.graph.consumers.get(out, ()))
    chosen: Layout = "nhwc" if image else "onnx"
    e.transpose(source, e.declare(out, chosen), wanted[chosen])


def _slice(e: Emission, node: Node) -> None:
    name, out = node.inputs[0], node.outputs[0]
    shape = e.graph.shapes[name]
    if len(shape) > 5:
        raise Unsupported(f"a slice of {len(shape)} dimensions", fix="reshape to at most 5 dimensions before it")
    given = [e.weight(i).tolist() if i else [] for i in node.inputs[1:]]
    starts, _, axes, steps = [*given, [], []][:4]
    begin, step = [0] * len(shape), [1] * len(shape)
    for axis, start, stride in zip(axes or range(len(starts)), starts, steps or [1] * len(starts), strict=True):
        if stride < 0:
            raise Unsupported("it walks backwards (a negative step)", fix="export the model without reversed slices")
        size = shape[axis]
        begin[axis] = min(max(start + size if start < 0 else start, 0), size)
        step[axis] = stride
    # The output's shape says the same as `ends`, without its special values.
    end = [min(b + s * n, d) for b, s, n, d in zip(begin, step, e.graph.shapes[out], shape, strict=True)]
    layout = e.layout(name)
    e.strided_slice(e.read(name), e.declare(out, layout), *(in_layout(v, layout) for v in (begin, end, step)))


def _split(e: Emission, node: Node) -> None:
    name = node.inputs[0]
    shape, layout = e.graph.shapes[name], e.layout(name)
    axis = int(node.attrs.get("axis", 0)) % len(shape)
    if len(shape) > 5:
        raise Unsupported(f"a split of {len(shape)} dimensions", fix="reshape to at most 5 dimensions before it")
    source, begin, step = e.read(name), [0] * len(shape), [1] * len(shape)
    for out in node.outputs:
        end = list(shape)
        end[axis] = begin[axis] + e.graph.shapes[out][axis]
        e.strided_slice(source, e.declare(out, layout), *(in_layout(v, layout) for v in (begin, end, step)))
        begin[axis] = end[axis]


def _concat(e: Emission, node: Node) -> None:
    out = node.outputs[0]
    rank = len(e.graph.shapes[out])
    axis = int(node.attrs["axis"]) % rank
    moving = [name for name in node.inputs if name not in e.graph.weights]
    layout: Layout = "nhwc" if any(e.layout(name) == "nhwc" for name in moving) else "onnx"
    sources = []
    for name in node.inputs:
        if name in e.graph.weights:
            values = e.graph.weights[name]
            sources.append(e.literal(name, values.transpose(TO_NHWC) if layout == "nhwc" else values, e.params.get(out)))
        else:
            sources.append(e.read(name, layout))
    e.op("CONCATENATION", sources, [e.declare(out, layout)], "ConcatenationOptions", axis=axis_in(axis, layout))


def _pad(e: Emission, node: Node) -> None:
    name, out = node.inputs[0], node.outputs[0]
    rank, layout = len(e.graph.shapes[name]), e.layout(name)
    amounts = [int(p) for p in (e.weight(node.inputs[1]).tolist())]
    axes = [int(a) % rank for a in e.weight(node.inputs[3]).tolist()] if len(node.inputs) > 3 and node.inputs[3] else list(range(rank))
    pairs = [[0, 0] for _ in range(rank)]
    for axis, before, after in zip(axes, amounts[: len(axes)], amounts[len(axes) :], strict=True):
        pairs[axis] = [before, after]
    if min(amounts, default=0) < 0:
        raise Unsupported("it crops (a negative pad)", fix="export the model with a slice instead")
    if rank > 5:
        raise Unsupported(f"a padding of {rank} dimensions", fix="reshape to at most 5 dimensions before it")
    inputs = [e.read(name), e.integers("pads", [pairs[axis] for axis in TO_NHWC] if layout == "nhwc" else pairs)]
    mode = node.attrs.get("mode", "constant")
    value = e.weight(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else np.float32(0)
    if mode == "reflect":
        e.op("MIRROR_PAD", inputs, [e.declare(out, layout)], "MirrorPadOptions", mode=0)
    elif mode != "constant":
        raise Unsupported(f"its mode is {mode!r}", fix="pad with a constant or by reflection")
    elif float(value) == 0.0:
        e.op("PAD", inputs, [e.declare(out, layout)], "PadOptions")
    else:
        # An infinite value saturates: the end of int8 is the least, or greatest, there is.
        real = np.full([1], value, np.float64)
        if e.is_int8:
            real = np.clip(real, e.params[out].lo, e.params[out].hi)
        e.op("PADV2", [*inputs, e.constant(f"{node.name}/value", real, e.params.get(out))], [e.declare(out, layout)], "PadV2Options")


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "Concat": Operator(_concat, same_scale=True, moves=True),
        "Flatten": Operator(_reshape, same_scale=True, moves=True),
        "Identity": Operator(_reshape, same_scale=True, moves=True),
        "Dropout": Operator(_reshape, same_scale=True, moves=True),
        "Pad": Operator(_pad, same_scale=True, moves=True),
        "Reshape": Operator(_reshape, same_scale=True, moves=True),
        "Slice": Operator(_slice, same_scale=True, moves=True),
        "Split": Operator(_split, same_scale=True, moves=True),
        "Squeeze": Operator(_reshape, same_scale=True, moves=True),
        "Transpose": Operator(_transpose, same_scale=True, moves=True),
        "Unsqueeze": Operator(_reshape, same_scale=True, moves=True),
    }
)
