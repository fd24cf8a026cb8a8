"""``mixed_outputs``: the concatenations that put values of different units into one output.

A detection head joins boxes in pixels and scores in 0..1 to one tensor; one int8 scale for both leaves the scores a
step or two. The pipeline keeps the nodes named here in float: then each part comes with its own scale, and the
output has the name and the shape it had.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.graph import Graph, Node
from edgekit.plan import Range

__all__ = ["UNITS_DIFFER", "mixed_outputs"]

UNITS_DIFFER = 4.0
"""Parts whose ranges differ by more than this factor are not put on one scale: the narrower would lose more than
two of its eight bits (6 dB each)."""

_MOVES = frozenset({"Concat", "Reshape", "Slice", "Transpose"})


def mixed_outputs(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, str]:
    """Return the nodes to keep in float, and why: joints of unlike parts just before an output, and the moves behind them.

    Parameters
    ----------
    ranges
        Of the graph's activations, as observed (``QuantPlan.ranges``).
    """
    outputs = {spec.name for spec in graph.outputs}
    tail: set[str] = set()
    for node in reversed(graph.nodes):
        readers = graph.consumers.get(node.outputs[0], ())
        if node.op in _MOVES and all(reader.name in tail for reader in readers) and (readers or outputs.intersection(node.outputs)):
            tail.add(node.name)
    found: dict[str, str] = {}
    for node in graph.nodes:
        if node.name in tail:
            before = [found[maker.name] for name in node.inputs if (maker := graph.producers.get(name)) and maker.name in found]
            why = before[0] if before else _mixture(node, ranges) if node.op == "Concat" else None
            if why:
                found[node.name] = why
    return found


def _mixture(node: Node, ranges: Mapping[str, Range]) -> str | None:
    """Say which inputs of a Concat are not of one kind."""
    spans = {name: max(ranges[name].hi, 0.0) - min(ranges[name].lo, 0.0) for name in node.inputs if name in ranges}
    spans = {name: span for name, span in spans.items() if span > 0.0}
    if not spans:
        return None
    wide, narrow = max(spans, key=lambda name: spans[name]), min(spans, key=lambda name: spans[name])
    if spans[wide] <= UNITS_DIFFER * spans[narrow]:
        return None
    lo, hi = ranges[narrow].lo, ranges[narrow].hi
    return (
        f"it joins {wide!r} ({ranges[wide].lo:.3g}..{ranges[wide].hi:.3g}) and {narrow!r} ({lo:.3g}..{hi:.3g}): one scale cannot hold both"
    )
