"""Which nodes of a plan are written in int8 for a runtime that stores what it computes. Called by ``emit`` and ``support``.

The plan decides for every node that computes. One that only moves or clamps values loses nothing in either precision. It
stays on integers that are there already; it is float where it would have to round what nobody, or not everybody, reads
as integers. A concatenation that nobody reads as integers is float too: its members keep their own scales.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from edgekit.graph import Graph, Node
from edgekit.plan import Precision, QuantPlan

__all__ = ["CLAMPS", "EXACT", "settle"]

CLAMPS = frozenset({"Clip", "Relu"})

EXACT = frozenset({"Gemm", "MatMul"})
"""Their integer kernels hand on float sums where nobody reads integers (com.microsoft QGemm, MatMulIntegerToFloat)."""


def settle(graph: Graph, plan: QuantPlan, follows: Collection[str]) -> dict[str, Precision]:
    """Return the precision of every node, by its name.

    Parameters
    ----------
    follows
        Names of the nodes that only move or clamp values.
    """
    asked = _asked(graph, plan, follows)
    home: dict[str, Precision] = {spec.name: "float32" for spec in graph.inputs}
    chosen: dict[str, Precision] = {}
    for node in graph.nodes:
        precision, readers = plan.precision(node.name), _wanted(graph, node, asked)
        if node.name in follows and not _is_folded(graph, plan, node, follows):
            sources = {home[name] for name in node.inputs if name in home and graph.dtypes[name] == "float32"}
            would_round = "float32" in sources and "float32" in readers
            if would_round or ("int8" not in readers and (node.op == "Concat" or "float32" in sources)):
                precision = "float32"
        chosen[node.name] = precision
        is_exact = node.op in EXACT and "int8" not in readers
        home.update(dict.fromkeys(node.outputs, "float32" if is_exact else precision))
    return chosen


def _is_folded(graph: Graph, plan: QuantPlan, node: Node, follows: Collection[str]) -> bool:
    """Tell whether a clamp costs nothing in int8: it alone reads what an integer kernel stores."""
    maker = graph.producers.get(node.inputs[0]) if node.op in CLAMPS else None
    if maker is None or maker.name in follows or maker.op in EXACT or plan.precision(maker.name) != "int8":
        return False
    return len(graph.consumers[node.inputs[0]]) == 1


def _asked(graph: Graph, plan: QuantPlan, follows: Collection[str]) -> dict[str, set[Precision]]:
    """Return in which precisions each tensor is wanted, by those who compute with it, behind whatever moves it."""
    asked: dict[str, set[Precision]] = {spec.name: {"float32"} for spec in graph.outputs}
    for node in reversed(graph.nodes):
        needs = _wanted(graph, node, asked) if node.name in follows else {plan.precision(node.name)}
        if plan.precision(node.name) == "float32":
            needs = {"float32"}
        for name in node.inputs:
            asked.setdefault(name, set()).update(needs)
    return asked


def _wanted(graph: Graph, node: Node, asked: Mapping[str, set[Precision]]) -> set[Precision]:
    return {wanted for name in node.outputs if graph.dtypes.get(name) == "float32" for wanted in asked.get(name, ())}
