"""Which precision each node of a fused graph is written in. Called by ``emit`` and ``support``.

The plan decides for every node that computes. One that only moves values (a reshape, a slice, a
concatenation, ``Operator.moves``), or whose results are whole numbers or truth values, loses nothing in
either precision, so it is written in the one that takes fewer QUANTIZE and DEQUANTIZE operators between
it and its neighbours; on a tie the plan's word holds. So a reshape inside a float island stays float, and one that the
plan keeps in float between int8 nodes does not become an island of its own.

Before there is a plan, ``support`` judges light arithmetic (``Operator.light``) in the same way: a residual sum
between two float normalisations is float, for it would cost a conversion more to compute it in int8.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from edgekit.graph import Graph, Node
from edgekit.plan import Precision, QuantPlan
from edgekit.runtimes.tflite.operator import Operator

__all__ = ["is_integer", "settle"]


def is_integer(graph: Graph, node: Node) -> bool:
    """Tell whether a node's results are whole numbers or truth values, all of them."""
    return all(graph.dtypes.get(name) != "float32" for name in node.outputs if name)


def settle(
    graph: Graph, plan: QuantPlan, operators: Mapping[str, Operator], border: Precision, *, light: Collection[str] = ()
) -> dict[str, Precision]:
    """Return the precision of every node, by its name.

    Parameters
    ----------
    border
        What the file's real inputs and outputs are stored in.
    light
        Names of further nodes that follow their neighbours, whatever the plan says.
    """
    follows = {*light} | {
        node.name
        for node in graph.nodes
        if node.op in operators and (operators[node.op].moves or (is_integer(graph, node) and not operators[node.op].float_only))
    }
    asked = _asked(graph, plan, follows, border)
    home: dict[str, Precision] = {spec.name: border for spec in graph.inputs}
    chosen: dict[str, Precision] = {}
    for node in graph.nodes:
        precision = plan.precision(node.name)
        if is_integer(graph, node) and node.op in operators and operators[node.op].float_only:
            precision = "float32"
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
        home.update(dict.fromkeys(node.outputs, precision))
    return chosen


def _asked(graph: Graph, plan: QuantPlan, follows: set[str], border: Precision) -> dict[str, set[Precision]]:
    """Return in which precisions each tensor is wanted, by those who compute with it, behind whatever moves it."""
    asked: dict[str, set[Precision]] = {spec.name: {border} for spec in graph.outputs}
    for node in reversed(graph.nodes):
        needs = {plan.precision(node.name)}
        if node.name in follows:
            needs = _wanted(graph, node, asked)
        for name in node.inputs:
            asked.setdefault(name, set()).update(needs)
    return asked


def _wanted(graph: Graph, node: Node, asked: Mapping[str, set[Precision]]) -> set[Precision]:
    return {wanted for name in node.outputs if graph.dtypes.get(name) == "float32" for wanted in asked.get(name, ())}
