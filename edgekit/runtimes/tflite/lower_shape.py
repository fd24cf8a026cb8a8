"""Operators that move values without computing: reshapes, transpositions, concatenations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from edgekit.graph import Node
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import TO_NHWC, TO_ONNX, Layout, axis_in, order_survives, permuted
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


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "Concat": Operator(_concat, same_scale=True, moves=True),
        "Flatten": Operator(_reshape, same_scale=True, moves=True),
        "Identity": Operator(_reshape, same_scale=True, moves=True),
        "Dropout": Operator(_reshape, same_scale=True, moves=True),
        "Reshape": Operator(_reshape, same_scale=True, moves=True),
        "Squeeze": Operator(_reshape, same_scale=True, moves=True),
        "Transpose": Operator(_transpose, same_scale=True, moves=True),
        "Unsqueeze": Operator(_reshape, same_scale=True, moves=True),
    }
)
