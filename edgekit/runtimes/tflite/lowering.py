"""Lower node by node: for a file, where every node must succeed, and dry, to tell what would become of each.

Called by ``emit``.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from edgekit.errors import BuildError
from edgekit.graph import Graph, Node
from edgekit.plan import NodePrecision, Precision, QuantPlan, Range, WeightScale
from edgekit.runtimes import Support
from edgekit.runtimes.scales import resolve
from edgekit.runtimes.tflite.border import declare_inputs
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.fuse import fuse, hosts
from edgekit.runtimes.tflite.operator import Unsupported
from edgekit.runtimes.tflite.precision import borders, is_integer, settle
from edgekit.runtimes.tflite.table import OPERATORS

__all__ = ["lower", "prepare", "support"]


def prepare(graph: Graph, plan: QuantPlan, precisions: Mapping[str, Precision]) -> Emission:
    """Return an emission of a fused graph with every scale settled, and nothing written yet."""
    int8 = {node.name: OPERATORS[node.op] for node in graph.nodes if precisions[node.name] == "int8" and node.op in OPERATORS}
    same_scale = {name for name, operator in int8.items() if operator.same_scale}
    fixed = {name: operator.fixed for name, operator in int8.items() if operator.fixed}
    symmetric = {node.inputs[slot] for node in graph.nodes if node.name in int8 for slot in int8[node.name].symmetric}
    return Emission(graph, plan.weights, resolve(graph, plan, same_scale, fixed, symmetric))


def lower(e: Emission, precisions: Mapping[str, Precision]) -> None:
    """Lower every node.

    Raises
    ------
    BuildError
        Nodes that cannot be, all of them named.
    """
    failed: list[tuple[Node, Unsupported]] = []
    for node in e.graph.nodes:
        e.precision = precisions[node.name]
        problem = _problem(e, node)
        if problem:
            failed.append((node, problem))
            e.stand_in(node)
    if failed:
        lines = [f"node {node.name!r} ({node.op}): {problem.reason}" for node, problem in failed]
        fixes = dict.fromkeys(problem.fix for _, problem in failed)
        raise BuildError(f"{len(lines)} node(s) cannot be written as TFLite:\n  " + "\n  ".join(lines), fix="; ".join(fixes))


def support(graph: Graph) -> dict[str, Support]:
    """Say of every node of a graph what becomes of it; see ``edgekit.runtimes.Runtime``.

    The lowering itself is the judge, run on made-up ranges: int8 if it succeeds, else float32.
    """
    fused = fuse(graph)
    plan = _nominal(fused)
    border: dict[str, Precision] = {spec.name: "int8" for spec in (*fused.inputs, *fused.outputs)}
    precisions = settle(fused, plan, OPERATORS, border)
    e = prepare(fused, plan, precisions)
    declare_inputs(e, border, "nhwc", precisions)
    found = {node.name: _judged(e, node) for node in fused.nodes}
    kept = {name: NodePrecision("float32", one.why) for name, one in found.items() if one.precision == "float32"}
    light = {
        node.name for node in fused.nodes if node.op in OPERATORS and OPERATORS[node.op].light and found[node.name].precision == "int8"
    }
    plan = msgspec.structs.replace(plan, nodes=kept)
    settled = settle(fused, plan, OPERATORS, borders(fused, plan, OPERATORS, light=light), light=light)
    for name, one in found.items():
        if one.precision == "int8" and settled[name] == "float32":
            found[name] = Support("float32", "between float nodes it is not worth a conversion")
    whose = hosts(graph, fused)
    return {node.name: found[whose[node.name]] for node in graph.nodes}


def _judged(e: Emission, node: Node) -> Support:
    whole = is_integer(e.graph, node)
    operator = OPERATORS.get(node.op)
    first: Unsupported | None = None
    for precision in operator.precisions if operator else ("int8",):
        e.precision = precision
        problem = _problem(e, node)
        if problem is None:
            if whole:
                return Support("integer", "its results are whole numbers or truth values")
            why = first.reason if first else operator.float_only if operator else ""
            return Support(precision, why if precision == "float32" else "")
        first = first or problem
    e.stand_in(node)
    assert first is not None
    return Support(None, first.reason, first.fix)


def _problem(e: Emission, node: Node) -> Unsupported | None:
    """Lower a node; return why it cannot be."""
    operator = OPERATORS.get(node.op)
    try:
        if operator is None:
            raise Unsupported("edgekit has no TFLite lowering for this operator", fix="replace the operator, or split the model before it")
        if e.is_int8 and operator.float_only:
            raise Unsupported(f"the plan has it in int8, but {operator.float_only}", fix="make the plan for this runtime")
        operator.lower(e, node)
    except Unsupported as problem:
        return problem
    return None


def _nominal(graph: Graph) -> QuantPlan:
    """Return a plan of a graph that nobody observed."""
    return QuantPlan(
        graph_sha256="",
        dataset_sha256=None,
        samples=0,
        method="nominal",
        ranges={name: Range(-1.0, 1.0, "nominal") for name in graph.activations},
        weights={name: WeightScale(None, (1.0,)) for name, array in graph.weights.items() if array.dtype == np.float32},
    )
