"""``merge_axes``: what broadcasts over more than four dimensions broadcasts over four.

TFLite's arithmetic broadcasts over four at most. Axes of length 1 are left out, and neighbours along which the same
operands are repeated become one, until four are left. Used by ``restate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgekit.draft import Draft
from edgekit.graph import Graph, Node

__all__ = ["merge_axes"]

_RANK_MAX = 4
_BROADCASTING = frozenset(
    (
        "Add",
        "And",
        "Div",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Max",
        "Min",
        "Mul",
        "Or",
        "Pow",
        "PRelu",
        "Sub",
        "Where",
    )
)

Groups = list[list[int]]


def merge_axes(graph: Graph) -> Graph:
    """Put every such node between reshapes; of several in a row the last one is kept."""
    draft = Draft(graph)
    for node in graph.nodes:
        shape = graph.shapes[node.outputs[0]]
        differs = any(graph.shapes[name] != shape for name in node.inputs)
        groups = _groups(graph, node) if node.op in _BROADCASTING and len(shape) > _RANK_MAX and differs else None
        if groups is None:
            draft.nodes.append(node)
            continue
        inputs = [_grouped(draft, name, len(shape), groups, f"{node.outputs[0]}/{slot}") for slot, name in enumerate(node.inputs)]
        merged = f"{node.outputs[0]}/merged"
        draft.shapes[merged] = tuple(int(np.prod([shape[axis] for axis in group])) for group in groups)
        draft.dtypes[merged] = graph.dtypes[node.outputs[0]]
        draft.nodes.append(Node(node.name, node.op, tuple(inputs), (merged,), node.attrs))
        draft.reshape(merged, node.outputs[0], shape)
        draft.dtypes[node.outputs[0]] = graph.dtypes[node.outputs[0]]
    return _last_reshapes(draft.finish())


def _groups(graph: Graph, node: Node) -> Groups | None:
    """Return which axes of the result become one; None where more than four are left."""
    shape = graph.shapes[node.outputs[0]]
    aligned = [(1,) * (len(shape) - len(graph.shapes[name])) + tuple(graph.shapes[name]) for name in node.inputs]
    repeats = [tuple(one[axis] == 1 for one in aligned) for axis in range(len(shape))]
    groups: Groups = [[axis] for axis in range(len(shape)) if shape[axis] != 1]
    while len(groups) > _RANK_MAX:
        alike = (i for i in range(len(groups) - 1) if repeats[groups[i][-1]] == repeats[groups[i + 1][0]])
        first = next(alike, None)
        if first is None:
            return None
        groups[first : first + 2] = [groups[first] + groups[first + 1]]
    return groups or [[0]]


def _grouped(draft: Draft, name: str, rank: int, groups: Groups, target: str) -> str:
    """Return an operand with its axes merged."""
    shape = draft.shapes[name]
    aligned: Sequence[int] = (1,) * (rank - len(shape)) + tuple(shape)
    wanted = tuple(int(np.prod([aligned[axis] for axis in group])) for group in groups)
    if name in draft.weights:
        return draft.constant(target, draft.weights[name].reshape(wanted), draft.dtypes[name])
    draft.reshape(name, target, wanted)
    draft.dtypes[target] = draft.dtypes[name]
    return target


def _last_reshapes(graph: Graph) -> Graph:
    """Let a Reshape of a Reshape read the origin, and readers of one that changes nothing read what it read."""
    draft = Draft(graph)
    outputs = {spec.name for spec in graph.outputs}
    origin: dict[str, str] = {}
    alias: dict[str, str] = {}
    for node in graph.nodes:
        node = replace(node, inputs=tuple(alias.get(name, name) for name in node.inputs))
        if node.op == "Reshape":
            source, out = origin.get(node.inputs[0], node.inputs[0]), node.outputs[0]
            origin[out] = source
            node = replace(node, inputs=(source, node.inputs[1]))
            if graph.shapes[source] == graph.shapes[out] and out not in outputs:
                alias[out] = source
                continue
        draft.nodes.append(node)
    return draft.finish()
