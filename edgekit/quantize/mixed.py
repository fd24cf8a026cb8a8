"""Mixed precision: which layers could be kept in float, who reads them, and which nodes go along.

``sensitivity`` ranks layers, ``pipeline.budget`` keeps some of them in float. Both speak of a layer by its
node's name; a plan speaks of nodes, and ``float_nodes`` says which.
"""

from __future__ import annotations

from collections.abc import Collection

from edgekit.graph import Graph
from edgekit.plan import QuantPlan

__all__ = ["float_nodes", "layer_names", "neighbours"]

# They pass values on: rounding them is rounding what they read.
_PASSING = frozenset(
    {
        "Clip",
        "Concat",
        "DepthToSpace",
        "Expand",
        "Gather",
        "Identity",
        "MaxPool",
        "GlobalMaxPool",
        "Pad",
        "Relu",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)


def layer_names(graph: Graph, plan: QuantPlan) -> tuple[str, ...]:
    """Return the layers that the plan computes in int8, in the graph's order."""
    return tuple(
        node.name
        for node in graph.nodes
        if node.op not in _PASSING and plan.precision(node.name) == "int8" and graph.dtypes.get(node.outputs[0]) == "float32"
    )


def neighbours(graph: Graph, layers: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Map each layer to those that read its result, directly or through nodes that only pass values on."""
    wanted = set(layers)
    makers = _makers(graph, wanted)
    readers: dict[str, list[str]] = {name: [] for name in layers}
    for node in graph.nodes:
        if node.name in wanted:
            for name in node.inputs:
                for maker in makers.get(name, ()):
                    if node.name not in readers[maker]:
                        readers[maker].append(node.name)
    return {name: tuple(found) for name, found in readers.items()}


def _makers(graph: Graph, layers: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Map each tensor to the layers whose values it holds."""
    makers: dict[str, tuple[str, ...]] = {}
    for node in graph.nodes:
        found: tuple[str, ...] = (node.name,) if node.name in layers else ()
        if node.op in _PASSING:
            found = tuple(dict.fromkeys(maker for name in node.inputs for maker in makers.get(name, ())))
        makers.update(dict.fromkeys(node.outputs, found))
    return makers


def float_nodes(graph: Graph, plan: QuantPlan, kept: Collection[str]) -> frozenset[str]:
    """Return the nodes that compute in float when these layers do: themselves and what only passes float values on.

    A node that passes values on follows when everything it reads is float: rounding before it or behind it is
    the same, and a runtime fuses a clamp with the layer before it.
    """
    chosen = set(kept)
    for node in graph.nodes:
        sources = [name for name in node.inputs if name not in graph.weights and graph.dtypes.get(name) == "float32"]
        makers = [graph.producers.get(name) for name in sources]
        is_float = [maker is not None and (maker.name in chosen or plan.precision(maker.name) != "int8") for maker in makers]
        if node.op in _PASSING and makers and all(is_float) and any(maker and maker.name in chosen for maker in makers):
            chosen.add(node.name)
    return frozenset(chosen)
