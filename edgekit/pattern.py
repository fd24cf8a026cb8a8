"""The words in which rewrites of a graph recognise a chain of nodes: constants, sole readers, the axes a node reduces.

Those of ``quantize`` and of the runtimes use them.
"""

from __future__ import annotations

from collections.abc import Callable

from edgekit.graph import Array, Graph, Node

__all__ = ["each", "inner", "reduced_axes", "scalar", "sole_reader", "with_scalar", "without_dead"]


def scalar(graph: Graph, name: str) -> float | None:
    """Return the value of a one-element constant, else None."""
    array: Array | None = graph.weights.get(name)
    return float(array.reshape(())) if array is not None and array.size == 1 else None


def with_scalar(graph: Graph, node: Node) -> tuple[str, float] | None:
    """Read ``x op constant`` of a commutative node, or of Div: the tensor and the constant."""
    if len(node.inputs) != 2:
        return None
    sides = [node.inputs] if node.op == "Div" else [node.inputs, node.inputs[::-1]]
    for tensor, other in sides:
        value = scalar(graph, other)
        if value is not None and tensor not in graph.weights and graph.shapes[tensor] == graph.shapes[node.outputs[0]]:
            return tensor, value
    return None


def inner(graph: Graph, name: str, op: str) -> Node | None:
    """Return the maker of a tensor if it is an ``op`` and nobody else reads the tensor."""
    maker = graph.producers.get(name)
    return maker if maker is not None and maker.op == op and sole_reader(graph, name) is not None else None


def sole_reader(graph: Graph, name: str) -> Node | None:
    """Return the one node that reads a tensor; None when others, or the graph's outputs, need it too."""
    readers = graph.consumers.get(name, ())
    alone = len(readers) == 1 and all(spec.name != name for spec in graph.outputs)
    return readers[0] if alone else None


def reduced_axes(graph: Graph, node: Node) -> tuple[int, ...] | None:
    """Return the axes of a reduction, ascending and counted from the front; None where they are computed.

    They are an attribute, or from opset 18 (ReduceSum: 13) on an input; none given is all axes, unless
    ``noop_with_empty_axes`` says none (ONNX operator ReduceMean).
    """
    rank = len(graph.shapes[node.inputs[0]])
    axes = node.attrs.get("axes")
    if len(node.inputs) > 1 and node.inputs[1]:
        given = graph.weights.get(node.inputs[1])
        if given is None:
            return None
        axes = given.reshape(-1).tolist()
    if not axes:
        return () if node.attrs.get("noop_with_empty_axes") else tuple(range(rank))
    return tuple(sorted(int(axis) % rank for axis in axes))


def each(graph: Graph, match: Callable[[Graph, Node], Node | None]) -> Graph:
    """Replace the nodes that match, and drop what only they needed."""
    return without_dead(graph.with_nodes([match(graph, node) or node for node in graph.nodes]))


def without_dead(graph: Graph) -> Graph:
    """Drop the nodes that no output needs."""
    needed = {spec.name for spec in graph.outputs}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            kept.append(node)
    return graph.with_nodes(reversed(kept))
