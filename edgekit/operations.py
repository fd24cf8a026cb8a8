"""Multiply-accumulates of each node: what a layer costs, whatever computes it.

``inspect --ops`` says with these how much of a network becomes int8, and the budget search what a layer kept
in float costs. Pure; knows ``Graph`` alone.
"""

from __future__ import annotations

import math

from edgekit.graph import Graph, Node

__all__ = ["macs"]


def macs(graph: Graph) -> dict[str, int]:
    """Return the multiply-accumulates of one inference, by node name: convolutions and matrix products only.

    Other operators are absent: they do a handful of operations per value, where these do hundreds. A padded
    border counts as if it were multiplied, as in the figures that torchvision and fvcore give.
    """
    return {node.name: count for node in graph.nodes if (count := _count(graph, node))}


def _count(graph: Graph, node: Node) -> int:
    made = math.prod(graph.shapes[node.outputs[0]])
    if node.op == "Conv":
        # [out, in / group, ...kernel]: each value of the output sums all but the first axis.
        return made * math.prod(graph.shapes[node.inputs[1]][1:])
    if node.op == "ConvTranspose":
        # [in, out / group, ...kernel]: each value of the input goes into all but the first axis.
        return math.prod(graph.shapes[node.inputs[0]]) * math.prod(graph.shapes[node.inputs[1]][1:])
    if node.op == "Gemm":
        rows, columns = graph.shapes[node.inputs[0]]
        return made * (rows if node.attrs.get("transA", 0) else columns)
    if node.op == "MatMul":
        return made * graph.shapes[node.inputs[0]][-1]
    return 0
