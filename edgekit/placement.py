"""Where a runtime rounds that fuses what follows a product into it, and so stores no result between the two.

Such are TensorRT's engines. NVIDIA's guide puts it so: quantize the inputs of weighted layers, not their outputs; leave
activations unquantized between; quantize the residual input of a sum, so that it fuses into the convolution in front
(TensorRT developer guide, "Q/DQ Layer-Placement Recommendations"). ``quantize.simulate`` and the emitter for TensorRT
both ask here, so that what is measured is what is written.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.graph import Graph, Node
from edgekit.plan import QuantPlan

__all__ = ["rounded_reads"]

_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})


def rounded_reads(graph: Graph, plan: QuantPlan) -> frozenset[tuple[str, int]]:
    """Return which reads are of integers: pairs of a node's name and the slot of its input.

    What only moves, clamps or otherwise transforms values reads them as they are: whether its input or its result is
    rounded is one and the same, or is the fusing runtime's to decide.
    """
    found: set[tuple[str, int]] = set()
    depth = _depths(graph)
    for node in graph.nodes:
        if plan.precision(node.name) != "int8":
            continue
        slots = {slot for slot, name in enumerate(node.inputs) if _is_activation(graph, name)}
        if node.op in _PRODUCTS or node.op == "AveragePool":
            found.update((node.name, slot) for slot in slots)
        elif node.op == "Add":
            found.update((node.name, slot) for slot in slots & _skips(graph, plan, node, depth))
    return frozenset(found)


def _skips(graph: Graph, plan: QuantPlan, node: Node, depth: Mapping[str, int]) -> set[int]:
    """Return the inputs of a sum that are rounded.

    Of a sum behind a convolution, all but that one's result: of two, the one at the end of the longer path, for the other
    one is the shortcut, and is there by then. Of any other sum, what a convolution reads as well, so that it is stored once,
    as integers.
    """
    fused = [slot for slot, name in enumerate(node.inputs) if _is_private_convolution(graph, plan, name)]
    if fused:
        return set(range(len(node.inputs))) - {max(fused, key=lambda slot: depth[node.inputs[slot]])}
    return {slot for slot, name in enumerate(node.inputs) if any(_is_convolution(plan, reader) for reader in graph.consumers[name])}


def _depths(graph: Graph) -> dict[str, int]:
    """Return how many nodes the longest path to each tensor has."""
    depth: dict[str, int] = {}
    for node in graph.nodes:
        depth.update(dict.fromkeys(node.outputs, 1 + max((depth.get(name, 0) for name in node.inputs), default=0)))
    return depth


def _is_private_convolution(graph: Graph, plan: QuantPlan, name: str) -> bool:
    """Tell whether a tensor is the result of a convolution that nobody else sees."""
    maker = graph.producers.get(name)
    alone = len(graph.consumers[name]) == 1 and all(spec.name != name for spec in graph.outputs)
    return maker is not None and alone and _is_convolution(plan, maker)


def _is_convolution(plan: QuantPlan, node: Node) -> bool:
    return node.op in _CONVOLUTIONS and plan.precision(node.name) == "int8"


def _is_activation(graph: Graph, name: str) -> bool:
    return graph.dtypes.get(name) == "float32" and name not in graph.weights
