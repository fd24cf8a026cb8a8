"""``overflowing``: which nodes float16 does not serve, by what calibration saw and by the constants they read.

The pipeline asks before it writes files for TensorRT; such nodes stay in float32 there, in the file (`edgekit.runtimes.qdq`)
or by the builder. Of a product only the result is looked at: how its kernel adds up is TensorRT's choice. The statistics of a
LayerNormalization are float32 by the operator itself (ONNX, ``stash_type``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from edgekit.graph import Graph, Node
from edgekit.pattern import reduced_axes
from edgekit.quantize.observe import MOVES, equivalents

__all__ = ["MARGIN", "overflowing"]

MARGIN = 4.0
"""Calibration samples are few: a node whose values come within this factor of float16's largest number is left out of it."""

_MAX = float(np.finfo(np.float16).max)
_TINY = float(np.finfo(np.float16).tiny)
# Whole numbers up to here are float16 numbers (11 bits of significand).
_WHOLE_MAX = 2048.0

# A bound beyond every float16 number is none: cut off at the largest it does the same.
_BOUNDS = frozenset({"Clip", "Max", "Min", "Pad"})
_MOVES = MOVES | {"Concat", "Expand", "Gather", "Slice", "Split", "Tile"}
_MEANS = frozenset({"AveragePool", "GlobalAveragePool", "ReduceMean"})


def overflowing(graph: Graph, extremes: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """Return the nodes that must stay in float32, each with the reason in words.

    Such are nodes that read or write values beyond 65,504 / `MARGIN`; sums inside a mean beyond it; a constant beyond 65,504; whole
    numbers beyond 2,048, until something is computed of them; and tensors or constants that lie below 6.1e-5 as a whole, where float16 has
    few bits: the epsilon of a normalisation is one.

    Parameters
    ----------
    extremes
        Smallest and largest value of every tensor of ``quantize.observe.observed(graph)``:
        ``{name: (h.lo, h.hi) for name, h in histograms.items()}``. A tensor that one clamp alone reads counts as what the
        clamp leaves of it: float16's infinity is cut off as well.
    """
    same = equivalents(graph)
    largest = {name: max(map(abs, extremes[same.get(name, name)])) for name in graph.activations}
    whole = _whole_numbers(graph, largest)
    return {node.name: why for node in graph.nodes if (why := _why(graph, node, largest, whole))}


def _whole_numbers(graph: Graph, largest: Mapping[str, float]) -> dict[str, float]:
    """Return the tensors of whole numbers, some of which float16 does not have, and how large they are."""
    whole: dict[str, float] = {}
    for node in graph.nodes:
        source, made = node.inputs[0] if node.inputs else "", node.outputs[0]
        is_cast = node.op == "Cast" and graph.dtypes[source] != "float32"
        if (is_cast or (node.op in _MOVES and source in whole)) and largest.get(made, 0.0) > _WHOLE_MAX:
            whole.update(dict.fromkeys(node.outputs, largest[made]))
    return whole


def _why(graph: Graph, node: Node, largest: Mapping[str, float], whole: Mapping[str, float]) -> str:
    for name in node.inputs:
        if (reason := _constant(graph, node, name)) is not None:
            return reason
    for name in (*node.inputs, *node.outputs):
        value = largest.get(name, 0.0)
        if value > _MAX / MARGIN:
            return f"its values reach {value:.3g}, and float16 ends at 65504"
        if 0.0 < value < _TINY:
            return f"its values do not pass {value:.2g}, where float16 has few bits"
    for name in (*node.inputs, *node.outputs):
        if name in whole:
            return f"its whole numbers reach {whole[name]:.0f}, and float16 has all of them up to 2048 only"
    made = max((largest.get(name, 0.0) for name in node.outputs), default=0.0)
    inner = _inner(graph, node, largest, made)
    return f"it sums up to {inner:.3g} on its way, and float16 ends at 65504" if inner > _MAX / MARGIN else ""


def _constant(graph: Graph, node: Node, name: str) -> str | None:
    """Say what is wrong with a constant, if anything is."""
    values = graph.weights.get(name)
    if values is None or values.dtype != np.float32 or not values.size:
        return None
    finite = np.abs(values[np.isfinite(values)])
    value = float(finite.max()) if finite.size else 0.0
    if value > _MAX and node.op not in _BOUNDS:
        return f"its constant {name!r} reaches {value:.3g}, and float16 ends at 65504"
    if 0.0 < value < _TINY:
        return f"its constant {name!r} is {value:.2g}, where float16 has few bits"
    return None


def _inner(graph: Graph, node: Node, largest: Mapping[str, float], made: float) -> float:
    """Return the largest value that a node may hold on its way from input to output; `normalise` spells out most that hold any."""
    if node.op in _MEANS:
        return made * _averaged(graph, node)
    power = int(node.attrs.get("p", 2))
    if node.op == "LpNormalization":
        return float(graph.shapes[node.inputs[0]][node.attrs.get("axis", -1)] * largest.get(node.inputs[0], 0.0) ** power)
    if node.op in ("GlobalLpPool", "LpPool"):
        return float(made**power)
    return math.exp(min(made, 80.0)) if node.op == "ReduceLogSumExp" else 0.0


def _averaged(graph: Graph, node: Node) -> int:
    """Return how many values a mean is of."""
    shape = graph.shapes[node.inputs[0]]
    if node.op == "AveragePool":
        return math.prod(node.attrs["kernel_shape"])
    axes = reduced_axes(graph, node) if node.op == "ReduceMean" else range(2, len(shape))
    return math.prod(shape[axis] for axis in (range(len(shape)) if axes is None else axes))
