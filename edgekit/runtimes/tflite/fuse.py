"""Rewrites that shape a float graph to what TFLite operators can say: plain functions ``Graph -> Graph``.

- Every mean over the whole image becomes ``ReduceMean``; the axes of reductions become their attribute.
- ``Relu`` and ``Clip`` become the attribute ``clip`` = (lo, hi) of the node in front when it is alone
  in reading it, else a ``Clip`` node with that attribute.
- A constant added behind a ``MatMul`` becomes its bias (third input).
- A ``Gemm`` reads and makes rows of more dimensions, where a ``Reshape`` around it did nothing but count them as one.

The result is for ``params`` and the lowering alone: it is not valid ONNX. Called by ``emit``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit.graph import Graph, Node
from edgekit.pattern import reduced_axes, sole_reader, without_dead

__all__ = ["WITH_ACTIVATION", "conv_padding", "fuse", "hosts"]

WITH_ACTIVATION = frozenset({"Add", "Conv", "ConvTranspose", "Gemm", "MatMul", "Mul", "Sub"})
"""Operators that take a clamp behind them as their attribute ``clip``; their lowerings write it (``clamp.clipped``)."""


_FLOAT_MAX = float(np.finfo(np.float32).max)
_REDUCTIONS = frozenset({"ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"})


def fuse(graph: Graph) -> Graph:
    """Apply all rewrites; node names and the names of remaining tensors stay."""
    for rewrite in (_canonical_reductions, _canonical_clips, _fuse_bias, _unfold_rows, _fuse_clips):
        graph = rewrite(graph)
    return graph


def hosts(graph: Graph, fused: Graph) -> dict[str, str]:
    """Return, for every node of a graph, the node of the fused graph that does its work."""
    kept = {node.name for node in fused.nodes}
    found = {}
    for node in reversed(graph.nodes):
        # A node that went into the one before it is the only reader there, and hands on what that one made.
        if node.name in kept:
            found[node.name] = node.name
        elif node.outputs[0] in fused.producers:
            found[node.name] = fused.producers[node.outputs[0]].name
        else:
            found[node.name] = found[graph.consumers[node.outputs[0]][0].name]
    return found


def conv_padding(node: Node) -> list[int]:
    """Return the explicit pads of a 2-D convolution or pooling node: both begins, then both ends."""
    return [int(p) for p in node.attrs.get("pads", [0] * 4)]


def _canonical_reductions(graph: Graph) -> Graph:
    def rewritten(node: Node) -> Node:
        spatial = list(range(2, len(graph.shapes.get(node.inputs[0], ())))) if node.inputs else []
        if node.op == "GlobalAveragePool" or (
            node.op == "AveragePool"
            and list(node.attrs["kernel_shape"]) == list(graph.shapes[node.inputs[0]][2:])
            and not any(conv_padding(node))
        ):
            return replace(node, op="ReduceMean", attrs={"axes": spatial, "keepdims": 1})
        if node.op in _REDUCTIONS:
            axes = reduced_axes(graph, node)
            if axes is not None:
                return replace(node, inputs=node.inputs[:1], attrs={"axes": list(axes), "keepdims": int(node.attrs.get("keepdims", 1))})
        return node

    return graph.with_nodes(map(rewritten, graph.nodes))


def _canonical_clips(graph: Graph) -> Graph:
    def bound(node: Node, index: int, default: float) -> float | None:
        if len(node.inputs) > index and node.inputs[index]:
            value = graph.weights.get(node.inputs[index])
            return None if value is None else float(value.reshape(()))
        return default

    def rewritten(node: Node) -> Node:
        if node.op == "Relu":
            return replace(node, op="Clip", attrs={"clip": (0.0, np.inf)})
        if node.op == "Clip":
            lo, hi = bound(node, 1, -np.inf), bound(node, 2, np.inf)
            # Bounds that are not constants stay as they are, for the lowering to refuse.
            if lo is not None and hi is not None:
                # Those of float32 itself are none.
                bounds = (lo if lo > -_FLOAT_MAX else -np.inf, hi if hi < _FLOAT_MAX else np.inf)
                return replace(node, inputs=node.inputs[:1], attrs={"clip": bounds})
        return node

    return graph.with_nodes(map(rewritten, graph.nodes))


def _fuse_bias(graph: Graph) -> Graph:
    gone: set[str] = set()
    kept = []
    for node in graph.nodes:
        if node.name in gone:
            continue
        reader = sole_reader(graph, node.outputs[0]) if node.op == "MatMul" and len(node.inputs) == 2 else None
        if reader and reader.op == "Add" and node.inputs[1] in graph.weights:
            other = next((name for name in reader.inputs if name != node.outputs[0]), "")
            width = graph.weights[node.inputs[1]].shape[-1]
            if other in graph.weights and graph.weights[other].shape == (width,):
                node = replace(node, inputs=(*node.inputs, other), outputs=reader.outputs)
                gone.add(reader.name)
        kept.append(node)
    return graph.with_nodes(kept)


def _unfold_rows(graph: Graph) -> Graph:
    """FULLY_CONNECTED multiplies along the last axis, whatever the others are."""
    gone: set[str] = set()
    kept = []
    for node in graph.nodes:
        if node.name in gone:
            continue
        if node.op == "Gemm" and not node.attrs.get("transA"):
            maker = graph.producers.get(node.inputs[0])
            width = graph.shapes[node.inputs[0]][-1]
            rows = graph.shapes[maker.inputs[0]] if maker is not None and maker.op == "Reshape" else ()
            if maker is not None and len(rows) > 1 and rows[-1] == width:
                node = replace(node, inputs=(maker.inputs[0], *node.inputs[1:]))
            reader = sole_reader(graph, node.outputs[0])
            made = (*graph.shapes[node.inputs[0]][:-1], graph.shapes[node.outputs[0]][-1])
            if reader is not None and reader.op == "Reshape" and graph.shapes[reader.outputs[0]] == made:
                node = replace(node, outputs=reader.outputs)
                gone.add(reader.name)
        kept.append(node)
    return without_dead(graph.with_nodes(kept))


def _fuse_clips(graph: Graph) -> Graph:
    gone: set[str] = set()
    kept = []
    for node in graph.nodes:
        if node.name in gone:
            continue
        reader = sole_reader(graph, node.outputs[0]) if node.op in WITH_ACTIVATION else None
        if reader and reader.op == "Clip" and "clip" in reader.attrs:
            node = replace(node, outputs=reader.outputs, attrs={**node.attrs, "clip": reader.attrs["clip"]})
            gone.add(reader.name)
        kept.append(node)
    return graph.with_nodes(kept)
