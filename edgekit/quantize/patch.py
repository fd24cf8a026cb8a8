"""Patches: what the rows of a layer are multiplied by, at a few positions of one sample. ``moments`` reads them.

Positions are drawn at random: an image has thousands that look alike, and a moment wants some tens per
tap. One rule serves convolutions of any rank, groups, stride, dilation and transposition: which input
each tap reads at each output position, or none.
"""

from __future__ import annotations

import math

import numpy as np

from edgekit.graph import Array, Graph
from edgekit.quantize.layer import Layer

__all__ = ["patches", "positions"]


def positions(graph: Graph, layer: Layer) -> int:
    """Return at how many positions of one sample a layer reads a patch."""
    shape = graph.shapes[layer.node.outputs[0]]
    return math.prod(shape[2:] if layer.convolves else shape[:-1])


def patches(graph: Graph, layer: Layer, x: Array, count: int, generator: np.random.Generator) -> Array:
    """Return float32 [groups, taps, at most count] of one sample.

    Parameters
    ----------
    x
        What the layer reads, with a batch of 1.
    count
        How many positions are drawn; all, in order, where there are no more.
    """
    available = positions(graph, layer)
    chosen = np.arange(available) if available <= count else generator.integers(0, available, count)
    if not layer.convolves:
        return np.ascontiguousarray(x.reshape(-1, x.shape[-1])[chosen].T)[None]
    flat = x.reshape(x.shape[1], -1)
    if _is_pointwise(graph, layer):
        return np.take(flat, chosen, axis=1).reshape(layer.groups, layer.taps, len(chosen))
    index, inside = _inputs(graph, layer, chosen)
    taken = np.take(flat, index.reshape(-1), axis=1).reshape(flat.shape[0], *index.shape)
    if not inside.all():
        taken *= inside
    return taken.reshape(layer.groups, layer.taps, len(chosen))


def _is_pointwise(graph: Graph, layer: Layer) -> bool:
    """Whether it reads one input at each position, in order."""
    attrs = layer.node.attrs
    moved = any(attrs.get("pads", ())) or any(step != 1 for step in attrs.get("strides", ()))
    return not moved and all(size == 1 for size in graph.shapes[layer.weight][2:])


def _inputs(graph: Graph, layer: Layer, chosen: Array) -> tuple[Array, Array]:
    """Return which input (of the flattened image) each kernel element reads at each position, and whether it is inside the image.

    Both [kernel elements, positions]. Index arithmetic of the ONNX operators Conv and ConvTranspose.
    """
    node = layer.node
    kernel, size = graph.shapes[layer.weight][2:], graph.shapes[layer.x][2:]
    rank = len(kernel)
    strides = node.attrs.get("strides") or [1] * rank
    dilations = node.attrs.get("dilations") or [1] * rank
    pads = node.attrs.get("pads") or [0] * (2 * rank)
    outputs = np.unravel_index(chosen, graph.shapes[node.outputs[0]][2:])
    taps = np.unravel_index(np.arange(int(np.prod(kernel))), tuple(kernel))
    index = np.zeros((len(taps[0]), len(chosen)), np.intp)
    inside = np.ones(index.shape, np.bool_)
    for axis in range(rank):
        tap = taps[axis][:, None] * dilations[axis]
        if node.op == "ConvTranspose":
            spread = outputs[axis] + pads[axis] - tap
            at, inside_axis = spread // strides[axis], spread % strides[axis] == 0
        else:
            at = outputs[axis] * strides[axis] - pads[axis] + tap
            inside_axis = np.ones(at.shape, np.bool_)
        inside &= inside_axis & (at >= 0) & (at < size[axis])
        index = index * size[axis] + np.clip(at, 0, size[axis] - 1)
    return index, inside
