"""What the nodes of a network cost, whatever computes them, and what becomes of each on a target.

``inspect --ops`` says with these how much of a network becomes int8, and the budget search what a layer kept
in float costs. Pure; knows ``Graph`` alone.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from edgekit.graph import Graph, Node
from edgekit.plan import Precision

__all__ = ["Operation", "macs"]


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One node of a network as a target would run it.

    Attributes
    ----------
    precision
        What it is computed in; ``"integer"`` where the results are whole numbers or truth values anyway; None where
        the target's runtime cannot compute it at all.
    why
        The reason where it is not int8.
    fix
        What can be done where it is None.
    macs
        Multiply-accumulates of one inference; 0 for what is neither a convolution nor a matrix product.
    """

    name: str
    op: str
    precision: Precision | Literal["integer"] | None
    why: str
    fix: str
    macs: int


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
