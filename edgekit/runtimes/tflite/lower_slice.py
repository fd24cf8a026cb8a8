"""Operators that take parts of a tensor, or add around it: slices, splits, padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from edgekit.graph import Array, Node
from edgekit.runtimes.tflite.chain import Step, chained, picked
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import Layout, axis_in, in_layout
from edgekit.runtimes.tflite.operator import Operator, Unsupported

__all__ = ["OPERATORS"]

# More dimensions STRIDED_SLICE and PAD do not take (TensorFlow, kernels/strided_slice.cc and kernels/pad.cc).
_RANK_MAX = 5
# `MirrorPadMode` of schema.fbs.
_REFLECT = 0

Write = Callable[[int, int], None]


def _slice(e: Emission, node: Node) -> None:
    """STRIDED_SLICE; along an axis that is walked backwards, GATHER."""
    name, out = node.inputs[0], node.outputs[0]
    shape, made, layout = e.graph.shapes[name], e.graph.shapes[out], e.layout(name)
    given = [e.weight(i).tolist() if i else [] for i in node.inputs[1:]]
    starts, _, axes, steps = [*given, [], []][:4]
    begin, end, step = [0] * len(shape), list(shape), [1] * len(shape)
    backwards: list[tuple[int, Array]] = []
    for axis, start, stride in zip(axes or range(len(starts)), starts, steps or [1] * len(starts), strict=True):
        size = shape[axis]
        first = min(max(start + size if start < 0 else start, 0), size - (stride < 0))
        # The output's shape says the same as `ends`, without its special values.
        if stride < 0:
            backwards.append((axis_in(axis % len(shape), layout), first + stride * np.arange(made[axis])))
        else:
            begin[axis], end[axis], step[axis] = first, min(first + stride * made[axis], size), stride
    cut = _cut(e, node, layout, begin, end, step)
    size_then = cut[-1].shape if cut else e.shape(name, layout)
    chained(e, out, layout, e.read(name), [*cut, *picked(e, size_then, backwards)])


def _cut(e: Emission, node: Node, layout: Layout, begin: Sequence[int], end: Sequence[int], step: Sequence[int]) -> list[Step]:
    """Return the STRIDED_SLICE with these numbers per ONNX axis; none where it would change nothing."""
    shape = e.graph.shapes[node.inputs[0]]
    if not any(begin) and list(end) == list(shape) and set(step) <= {1}:
        return []
    _check_rank(node, len(shape))
    first, last, strides = (in_layout(values, layout) for values in (begin, end, step))
    size = [-(-(b - a) // s) for a, b, s in zip(first, last, strides, strict=True)]
    return [Step(size, lambda source, target: e.strided_slice(source, target, first, last, strides))]


def _check_rank(node: Node, rank: int) -> None:
    if rank > _RANK_MAX:
        raise Unsupported(f"a {node.op.lower()} of {rank} dimensions", fix=f"reshape to at most {_RANK_MAX} dimensions before it")


def _split(e: Emission, node: Node) -> None:
    name = node.inputs[0]
    shape, layout = e.graph.shapes[name], e.layout(name)
    axis = int(node.attrs.get("axis", 0)) % len(shape)
    source, begin = e.read(name), [0] * len(shape)
    for out in node.outputs:
        end = list(shape)
        end[axis] = begin[axis] + e.graph.shapes[out][axis]
        chained(e, out, layout, source, _cut(e, node, layout, begin, end, [1] * len(shape)))
        begin[axis] = end[axis]


def _pad(e: Emission, node: Node) -> None:
    """PAD, PADV2 or MIRROR_PAD; by the edge or around it, a GATHER per axis. Negative pads crop first."""
    name, out = node.inputs[0], node.outputs[0]
    shape, layout = e.graph.shapes[name], e.layout(name)
    pairs = _pairs(e, node, len(shape))
    begin, end = [max(-a, 0) for a, _ in pairs], [n - max(-b, 0) for n, (_, b) in zip(shape, pairs, strict=True)]
    steps = _cut(e, node, layout, begin, end, [1] * len(shape))
    size = list(steps[-1].shape) if steps else list(e.shape(name, layout))
    added = in_layout([(max(a, 0), max(b, 0)) for a, b in pairs], layout)
    mode = node.attrs.get("mode", "constant")
    if mode in ("edge", "wrap"):
        around = ((axis, np.arange(-a, size[axis] + b)) for axis, (a, b) in enumerate(added) if a or b)
        places = ((axis, at % size[axis] if mode == "wrap" else np.clip(at, 0, size[axis] - 1)) for axis, at in around)
        chained(e, out, layout, e.read(name), [*steps, *picked(e, size, places)])
        return
    _check_rank(node, len(shape))
    write = _constant_pad(e, node, added) if mode == "constant" else _mirror_pad(e, added)
    chained(e, out, layout, e.read(name), [*steps, Step(e.shape(out, layout), write)])


def _pairs(e: Emission, node: Node, rank: int) -> list[tuple[int, int]]:
    """Return what a Pad adds before and behind each ONNX axis."""
    amounts = [int(amount) for amount in e.weight(node.inputs[1]).tolist()]
    given = e.weight(node.inputs[3]).tolist() if len(node.inputs) > 3 and node.inputs[3] else range(rank)
    pairs = [(0, 0)] * rank
    for axis, before, after in zip(given, amounts[: len(given)], amounts[len(given) :], strict=True):
        pairs[axis % rank] = before, after
    return pairs


def _mirror_pad(e: Emission, added: Sequence[tuple[int, int]]) -> Write:
    return lambda source, target: e.op("MIRROR_PAD", [source, e.integers("pads", added)], [target], "MirrorPadOptions", mode=_REFLECT)


def _constant_pad(e: Emission, node: Node, added: Sequence[tuple[int, int]]) -> Write:
    out = node.outputs[0]
    value = float(e.weight(node.inputs[2]).reshape(())) if len(node.inputs) > 2 and node.inputs[2] else 0.0
    if value == 0.0:
        return lambda source, target: e.op("PAD", [source, e.integers("pads", added)], [target], "PadOptions")
    # An infinite value saturates: the end of int8 is the least, or greatest, there is.
    real = np.full([1], value)
    if e.is_int8:
        real = np.clip(real, e.params[out].lo, e.params[out].hi)

    def write(source: int, target: int) -> None:
        filler = e.constant(f"{out}/value", real, e.params.get(out))
        e.op("PADV2", [source, e.integers("pads", added), filler], [target], "PadV2Options")

    return write


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "Pad": Operator(_pad, same_scale=True, moves=True),
        "Slice": Operator(_slice, same_scale=True, moves=True),
        "Split": Operator(_split, same_scale=True, moves=True),
    }
)
