"""Operators that move values without computing: reshapes, transpositions, concatenations."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from edgekit.graph import Node
from edgekit.runtimes.tflite.broadcast import common_layout
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import NHWC, ONNX, arranged, axis_in, reshaped, transposed
from edgekit.runtimes.tflite.operator import Operator

__all__ = ["OPERATORS"]

# Nodes that read their first input as an NHWC image.
_IMAGE_READERS = frozenset({"AveragePool", "Conv", "ConvTranspose", "DepthToSpace", "GlobalMaxPool", "MaxPool", "Resize"})


def _reshape(e: Emission, node: Node) -> None:
    """RESHAPE the values as they stand in the file; only what merges axes that stand apart moves them first."""
    name, out = node.inputs[0], node.outputs[0]
    before, after, layout = e.graph.shapes[name], e.graph.shapes[out], e.layout(name)
    if before == after:
        e.hand_on(out, layout, e.read(name))
        return
    found = reshaped(before, after, layout, prefer=NHWC if _feeds_images(e, out) else ONNX)
    if found is None:
        e.hand_on(out, ONNX, e.read(name, ONNX))
    elif not e.stands_as(name, found[0]) and _feeds_matrices(e, node):
        e.flat[out] = before, layout
        e.hand_on(out, ONNX, e.read(name))
    else:
        source, target = found
        e.hand_on(out, target, e.read(name) if e.stands_as(name, source) else e.read(name, source))


def _feeds_images(e: Emission, name: str) -> bool:
    return any(reader.op in _IMAGE_READERS for reader in e.graph.consumers.get(name, ()))


def _feeds_matrices(e: Emission, node: Node) -> bool:
    """Tell whether a node flattens an image for constant matrices alone: those can be reordered instead."""
    before, out = e.graph.shapes[node.inputs[0]], node.outputs[0]
    readers, layout = e.graph.consumers.get(out, ()), e.layout(node.inputs[0])
    return (
        # Rows must be rows in the file too.
        (before[0] == 1 or not layout or layout[0] == 0)
        and e.graph.shapes[out] == (before[0], int(np.prod(before[1:])))
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
    """Nothing: the values stay where they are, and whoever needs another order moves them once, whatever transposed them before."""
    name, out = node.inputs[0], node.outputs[0]
    perm = node.attrs.get("perm", range(len(e.graph.shapes[name]))[::-1])
    e.hand_on(out, transposed(e.layout(name), list(perm)), e.read(name))


def _concat(e: Emission, node: Node) -> None:
    out = node.outputs[0]
    rank = len(e.graph.shapes[out])
    axis = int(node.attrs["axis"]) % rank
    layout = common_layout(e, node.inputs)
    sources = []
    for name in node.inputs:
        if name in e.graph.weights:
            values = e.graph.weights[name]
            sources.append(e.literal(name, arranged(values, layout), e.params.get(out)))
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
