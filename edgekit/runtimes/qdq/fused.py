"""Q/DQ as TensorRT fuses it: only what a product or a residual sum reads is rounded. Called by ``emit``.

Where it is rounded says ``edgekit.placement``. Zero points are 0 and weights int8, since the parser refuses others; biases
stay float, since it refuses an int32 one behind a DequantizeLinear (measured with the parser of tensorrt-rtx 1.7).
Weights have one scale per output channel: axis 0 of a Conv, 1 of a ConvTranspose, the columns of a matrix (TensorRT
developer guide, "Working with Quantized Types").
"""

from __future__ import annotations

from collections.abc import Collection

from edgekit.graph import Graph, Node
from edgekit.placement import rounded_reads
from edgekit.plan import QuantPlan
from edgekit.runtimes.qdq.emission import Emission
from edgekit.runtimes.qdq.support import MOVES
from edgekit.runtimes.qdq.weights import is_embedding, table, weight

__all__ = ["place", "with_siblings"]


def place(e: Emission) -> None:
    """Write every node of the graph."""
    reads = rounded_reads(e.graph, e.plan)
    for node in e.graph.nodes:
        inputs = [e.rounded(name) if (node.name, slot) in reads else name for slot, name in enumerate(node.inputs)]
        if e.plan.precision(node.name) == "int8" and is_embedding(e.graph, node):
            inputs[0] = table(e, node)
        elif e.plan.precision(node.name) == "int8" and len(node.inputs) > 1 and node.inputs[1] in e.plan.weights:
            inputs[1] = weight(e, node)
        e.keep(node, inputs, [e.exact(name) for name in node.outputs])


def with_siblings(graph: Graph, plan: QuantPlan, float32_nodes: Collection[str]) -> frozenset[str]:
    """Return the nodes that stay in float32, and with each product of integers the others that multiply the same tensor.

    TensorRT computes such products as one, and its compiler fails on results of unlike types ("Invalid binary pointwise
    types", measured with tensorrt-rtx 1.7).
    """
    whole = (node for node in graph.nodes if plan.precision(node.name) == "int8")
    products = [node for node in whole if len(node.inputs) > 1 and node.inputs[1] in plan.weights]
    multiplied = {_origin(graph, node.inputs[0]) for node in products if node.name in float32_nodes}
    return frozenset({*float32_nodes, *(node.name for node in products if _origin(graph, node.inputs[0]) in multiplied)})


def _origin(graph: Graph, name: str) -> str:
    """Return the tensor whose values another one moves, or that one."""
    maker: Node | None = graph.producers.get(name)
    return _origin(graph, maker.inputs[0]) if maker is not None and maker.op in MOVES else name
