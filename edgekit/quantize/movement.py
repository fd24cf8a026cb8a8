"""Rewrites of what only moves values: one spelling for reshaping, and nothing that changes nothing.

Used by ``rewrite``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgekit.draft import Draft
from edgekit.graph import Graph, Node
from edgekit.pattern import reduced_axes, scalar

__all__ = ["pass_through", "reshapes", "slices", "splits", "transposes"]


_NEUTRAL = {"Add": 0.0, "Div": 1.0, "Mul": 1.0, "Sub": 0.0}


def reshapes(graph: Graph) -> Graph:
    """Flatten, Squeeze, Unsqueeze and Reshape become Reshape to an explicit, constant shape; of several in a row the last one."""
    source: dict[str, str] = {}
    draft = Draft(graph)
    for node in graph.nodes:
        if node.op in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
            out = node.outputs[0]
            source[out] = source.get(node.inputs[0], node.inputs[0])
            shape = draft.constant(f"{out}/shape", graph.shapes[out], "int64")
            node = Node(node.name, "Reshape", (source[out], shape), node.outputs)
        draft.nodes.append(node)
    return draft.finish()


def transposes(graph: Graph) -> Graph:
    """Every Transpose states its permutation; of several in a row the last one does the work of all."""
    made: dict[str, tuple[str, list[int]]] = {}
    draft = Draft(graph)
    for node in graph.nodes:
        if node.op == "Transpose":
            source, out = node.inputs[0], node.outputs[0]
            perm = [int(axis) for axis in node.attrs.get("perm", range(len(graph.shapes[source]))[::-1])]
            origin, before = made.get(source, (source, list(range(len(perm)))))
            made[out] = (origin, [before[axis] for axis in perm])
            node = Node(node.name, "Transpose", (origin,), node.outputs, {"perm": made[out][1]})
        draft.nodes.append(node)
    return draft.finish()


def slices(graph: Graph) -> Graph:
    """Every Slice with constant numbers states its axes and steps; of several in a row, over axes of their own, the last one does all."""
    made: dict[str, tuple[str, dict[int, tuple[int, int, int]]]] = {}
    draft = Draft(graph)
    for node in graph.nodes:
        cuts = _cuts(graph, node)
        if cuts is not None:
            out = node.outputs[0]
            origin, before = made.get(node.inputs[0], (node.inputs[0], {}))
            if cuts.keys() & before.keys():
                origin, before = node.inputs[0], {}
            made[out] = (origin, {**before, **cuts})
            columns = zip(*((*cut, axis) for axis, cut in sorted(made[out][1].items())), strict=True)
            words = ("starts", "ends", "steps", "axes")
            numbers = [draft.constant(f"{out}/{word}", column, "int64") for word, column in zip(words, columns, strict=True)]
            starts, ends, steps, axes = numbers
            node = Node(node.name, "Slice", (origin, starts, ends, axes, steps), node.outputs)
        draft.nodes.append(node)
    return draft.finish()


def _cuts(graph: Graph, node: Node) -> dict[int, tuple[int, int, int]] | None:
    """Return a Slice's start, end and step by axis, or None where they are computed."""
    if node.op != "Slice" or any(name and name not in graph.weights for name in node.inputs[1:]):
        return None
    rank = len(graph.shapes[node.inputs[0]])
    numbers = [[int(n) for n in graph.weights[name]] if name else [] for name in (*node.inputs[1:], "", "")[:4]]
    starts, ends, axes, steps = numbers
    places = [axis % rank for axis in axes or range(len(starts))]
    return dict(zip(places, zip(starts, ends, steps or [1] * len(starts), strict=True), strict=True)) or None


def splits(graph: Graph) -> Graph:
    """Every Split states its sizes and an axis from the front."""
    draft = Draft(graph)
    for node in graph.nodes:
        if node.op == "Split":
            axis = int(node.attrs.get("axis", 0)) % len(graph.shapes[node.inputs[0]])
            sizes = draft.constant(f"{node.outputs[0]}/sizes", [graph.shapes[name][axis] for name in node.outputs], "int64")
            node = Node(node.name, "Split", (node.inputs[0], sizes), node.outputs, {"axis": axis})
        draft.nodes.append(node)
    return draft.finish()


def _changes_nothing(graph: Graph, node: Node) -> bool:
    before, after = node.inputs[0] if node.inputs else "", node.outputs[0]
    if node.op in ("Identity", "Dropout"):
        return not any(name in graph.consumers for name in node.outputs[1:])
    if not before or graph.shapes.get(before) != graph.shapes[after]:
        return False
    if node.op == "Cast":
        return graph.dtypes[before] == graph.dtypes[after]
    if node.op in _NEUTRAL:
        return scalar(graph, node.inputs[1]) == _NEUTRAL[node.op]
    if node.op == "Transpose":
        return node.attrs.get("perm") == list(range(len(graph.shapes[before])))
    if node.op == "Slice":
        steps = graph.weights.get(node.inputs[4]) if len(node.inputs) > 4 else np.ones(1)
        return steps is not None and bool((steps > 0).all())
    if node.op == "Pad":
        amounts = graph.weights.get(node.inputs[1])
        return amounts is not None and not amounts.any()
    if node.op in ("Concat", "Max", "Mean", "Min", "Sum"):
        return len(node.inputs) == 1
    if node.op in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"):
        return reduced_axes(graph, node) == ()
    if node.op == "Resize":
        # Whatever the scales: onnxruntime's kernel copies too.
        return node.attrs.get("coordinate_transformation_mode") != "tf_crop_and_resize"
    return node.op in ("Expand", "Reshape", "Split", "Tile")


def pass_through(graph: Graph) -> Graph:
    """Drop nodes whose output is their input."""
    outputs = {spec.name for spec in graph.outputs}
    alias: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        node = replace(node, inputs=tuple(alias.get(name, name) for name in node.inputs))
        if node.op in ("Add", "Mul") and node.inputs[0] in graph.weights:
            # Constants second: of a product with 1 and of a sum with 0 the first operand is the result.
            node = replace(node, inputs=node.inputs[::-1])
        if _changes_nothing(graph, node):
            before, after = node.inputs[0], node.outputs[0]
            if after not in outputs:
                alias[after] = before
                continue
            maker = next((i for i, made in enumerate(nodes) if before in made.outputs), None)
            if maker is not None and before not in outputs:
                # The name of a graph output is the model's interface: the maker takes it over.
                nodes[:] = [_with_names(made, {before: after}) for made in nodes]
                alias[before] = after
                alias = {name: after if target == before else target for name, target in alias.items()}
                continue
        nodes.append(node)
    return graph.with_nodes(nodes)


def _with_names(node: Node, new: Mapping[str, str]) -> Node:
    return replace(
        node,
        inputs=tuple(new.get(name, name) for name in node.inputs),
        outputs=tuple(new.get(name, name) for name in node.outputs),
    )
