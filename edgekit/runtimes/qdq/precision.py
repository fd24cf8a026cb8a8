"""Which nodes of a plan are written in int8. Called by ``stored``.

The plan decides for every node that computes. One that only moves or clamps values loses nothing in either precision,
so it is written in the one that takes fewer roundings and unroundings between it and its neighbours; on a tie the
plan's word holds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from edgekit.graph import Graph, Node
from edgekit.plan import Precision, QuantPlan

__all__ = ["settle"]


def settle(graph: Graph, plan: QuantPlan, follows: Collection[str], exact: Collection[str]) -> dict[str, Precision]:
    """Return the precision of every node, by its name.

    Parameters
    ----------
    follows
        Names of the nodes that only move or clamp values.
    exact
        Names of the nodes that need not round what no int8 node reads.
    """
    asked = _asked(graph, plan, follows)
    home: dict[str, Precision] = {spec.name: "float32" for spec in graph.inputs}
    chosen: dict[str, Precision] = {}
    for node in graph.nodes:
        precision = plan.precision(node.name)
        if node.name in follows:
            sources = [home[name] for name in dict.fromkeys(node.inputs) if name in home and graph.dtypes[name] == "float32"]
            readers = _wanted(graph, node, asked)
            bridges: dict[Precision, int] = {
                "int8": sources.count("float32") + ("float32" in readers),
                "float32": sources.count("int8") + ("int8" in readers),
            }
            if bridges["int8"] != bridges["float32"]:
                precision = "int8" if bridges["int8"] < bridges["float32"] else "float32"
        chosen[node.name] = precision
        is_exact = node.name in exact and "int8" not in _wanted(graph, node, asked)
        home.update(dict.fromkeys(node.outputs, "float32" if is_exact else precision))
    return chosen


def _asked(graph: Graph, plan: QuantPlan, follows: Collection[str]) -> dict[str, set[Precision]]:
    """Return in which precisions each tensor is wanted, by those who compute with it, behind whatever moves it."""
    asked: dict[str, set[Precision]] = {spec.name: {"float32"} for spec in graph.outputs}
    for node in reversed(graph.nodes):
        needs = _wanted(graph, node, asked) if node.name in follows else {plan.precision(node.name)}
        for name in node.inputs:
            asked.setdefault(name, set()).update(needs)
    return asked


def _wanted(graph: Graph, node: Node, asked: Mapping[str, set[Precision]]) -> set[Precision]:
    return {wanted for name in node.outputs if graph.dtypes.get(name) == "float32" for wanted in asked.get(name, ())}
