"""Which precision each node of a fused graph is written in. Called by ``emit`` and ``support``.

The plan decides for every node that computes. One that only moves values (a reshape, a slice, a
concatenation, ``Operator.moves``), or whose results are whole numbers or truth values, loses nothing in
either precision, so it is written in the one that takes fewer QUANTIZE and DEQUANTIZE operators between
it and its neighbours; on a tie in int8, which has fewer bytes to move. So a reshape inside a float island stays float, and one
that the plan keeps in float between int8 nodes does not become an island of its own.

Before there is a plan, ``support`` judges light arithmetic (``Operator.light``) in the same way, and on a tie for
float, which is exact: a residual sum between two float normalisations is float, for it would cost a conversion
more to compute it in int8.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from edgekit.graph import Graph, Node
from edgekit.plan import Precision, QuantPlan
from edgekit.runtimes.tflite.operator import Operator

__all__ = ["borders", "is_integer", "settle"]


def is_integer(graph: Graph, node: Node) -> bool:
    """Tell whether a node's results are whole numbers or truth values, all of them."""
    return all(graph.dtypes.get(name) != "float32" for name in node.outputs if name)


def borders(graph: Graph, plan: QuantPlan, operators: Mapping[str, Operator], *, light: Collection[str] = ()) -> dict[str, Precision]:
    """Return in which precision the network itself takes each real input and makes each real output, by name.

    An input is float32 where all that compute with it are, an output where any of those whose values it holds is:
    int8 would put back what they were kept in float for.
    """
    follows = {*light, *_following(graph, plan, operators)}
    asked: dict[str, set[Precision]] = {}
    for node in reversed(graph.nodes):
        needs = _wanted(graph, node, asked) if node.name in follows else {plan.precision(node.name)}
        for name in node.inputs:
            asked.setdefault(name, set()).update(needs)
    made: dict[str, set[Precision]] = {}
    for node in graph.nodes:
        sources = [made.get(name, set()) for name in _sources(graph, node)]
        held = set().union(*sources) if node.name in follows else {plan.precision(node.name)}
        made.update(dict.fromkeys(node.outputs, held))
    found: dict[str, Precision] = {spec.name: "float32" if asked.get(spec.name) == {"float32"} else "int8" for spec in graph.inputs}
    found.update({spec.name: "float32" if "float32" in made.get(spec.name, ()) else "int8" for spec in graph.outputs})
    return found


def settle(
    graph: Graph, plan: QuantPlan, operators: Mapping[str, Operator], border: Mapping[str, Precision], *, light: Collection[str] = ()
) -> dict[str, Precision]:
    """Return the precision of every node, by its name.

    Parameters
    ----------
    border
        What each of the file's real inputs and outputs is stored in.
    light
        Names of further nodes that follow their neighbours, whatever the plan says.
    """
    follows = {*light, *_following(graph, plan, operators)}
    asked = _asked(graph, plan, follows, light, border)
    home: dict[str, Precision] = {spec.name: border[spec.name] for spec in graph.inputs}
    chosen: dict[str, Precision] = {}
    for node in graph.nodes:
        precision = plan.precision(node.name)
        if is_integer(graph, node) and node.op in operators and operators[node.op].float_only:
            precision = "float32"
        if node.name in follows:
            sources = [home[name] for name in _sources(graph, node)]
            readers = _wanted(graph, node, asked)
            bridges: dict[Precision, int] = {
                "int8": sources.count("float32") + ("float32" in readers),
                "float32": sources.count("int8") + ("int8" in readers),
            }
            in_float = bridges["float32"] <= bridges["int8"] if node.name in light else bridges["float32"] < bridges["int8"]
            precision = "float32" if in_float else "int8"
        chosen[node.name] = precision
        home.update(dict.fromkeys(node.outputs, precision))
    return chosen


def _following(graph: Graph, plan: QuantPlan, operators: Mapping[str, Operator]) -> set[str]:
    return {node.name for node in graph.nodes if node.op in operators and _loses_nothing(graph, plan, node, operators[node.op])}


def _loses_nothing(graph: Graph, plan: QuantPlan, node: Node, operator: Operator) -> bool:
    """Tell whether a node is the same in both precisions.

    A table of constants is not: in float it has four times the bytes. Nor is a joint that the plan keeps in float: int8
    would put all its parts on one scale.
    """
    if node.op == "Concat" and plan.precision(node.name) == "float32":
        return False
    return (operator.moves and bool(_sources(graph, node))) or (is_integer(graph, node) and not operator.float_only)


def _sources(graph: Graph, node: Node) -> list[str]:
    """Return the real tensors that a node reads, constants apart."""
    return [name for name in dict.fromkeys(node.inputs) if name and graph.dtypes[name] == "float32" and name not in graph.weights]


def _asked(
    graph: Graph, plan: QuantPlan, follows: set[str], light: Collection[str], border: Mapping[str, Precision]
) -> dict[str, set[Precision]]:
    """Return in which precisions each tensor is wanted, by those who compute with it, behind whatever moves it.

    Light arithmetic on one tensor wants it as it is: it can be converted behind as well as before.
    """
    asked: dict[str, set[Precision]] = {spec.name: {border[spec.name]} for spec in graph.outputs}
    for node in reversed(graph.nodes):
        needs = {plan.precision(node.name)}
        if node.name in follows:
            needs = _wanted(graph, node, asked)
        if node.name in light and len(_sources(graph, node)) == 1:
            needs = set()
        for name in node.inputs:
            asked.setdefault(name, set()).update(needs)
    return asked


def _wanted(graph: Graph, node: Node, asked: Mapping[str, set[Precision]]) -> set[Precision]:
    return {wanted for name in node.outputs if graph.dtypes.get(name) == "float32" for wanted in asked.get(name, ())}
