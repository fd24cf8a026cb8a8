"""Rewrites that say in operators with integer kernels what onnxruntime has none for. Called by ``emit``.

- A mean over the whole image is ``GlobalAveragePool``, a maximum over it ``ReduceMax``.
- ``HardSwish`` is its definition, ``Mul(x, HardSigmoid(x))`` (ONNX operator HardSwish).
- ``DepthToSpace`` and ``SpaceToDepth`` are ``Reshape``, ``Transpose``, ``Reshape`` (ONNX operator DepthToSpace): they only move.
"""

from __future__ import annotations

from edgekit.draft import Draft
from edgekit.graph import Graph, Node

__all__ = ["prepare"]


def prepare(graph: Graph) -> Graph:
    """Apply all rewrites; node names and the names of tensors stay."""
    draft = Draft(graph)
    for node in graph.nodes:
        if node.op == "ReduceMean" and _is_over_image(graph, node):
            _mean(draft, node)
        elif node.op == "GlobalMaxPool":
            _maximum(draft, node)
        elif node.op == "HardSwish":
            x, out = node.inputs[0], node.outputs[0]
            gate = draft.add("HardSigmoid", (x,), f"{out}/gate", graph.shapes[x], alpha=1.0 / 6.0, beta=0.5)
            draft.add("Mul", (x, gate), out, name=node.name)
        elif node.op in ("DepthToSpace", "SpaceToDepth"):
            _blocks(draft, node)
        else:
            draft.nodes.append(node)
    return draft.finish()


def _is_over_image(graph: Graph, node: Node) -> bool:
    shape, axes = graph.shapes[node.inputs[0]], node.attrs.get("axes")
    if len(node.inputs) > 1 and node.inputs[1] in graph.weights:
        axes = graph.weights[node.inputs[1]].tolist()
    return len(shape) == 4 and axes is not None and sorted(int(axis) % 4 for axis in axes) == [2, 3]


def _mean(draft: Draft, node: Node) -> None:
    graph, x, out = draft.source, node.inputs[0], node.outputs[0]
    pooled = (*graph.shapes[x][:2], 1, 1)
    if graph.shapes[out] == pooled:
        draft.add("GlobalAveragePool", (x,), out, name=node.name)
    else:
        draft.reshape(draft.add("GlobalAveragePool", (x,), f"{out}/pooled", pooled, name=node.name), out, graph.shapes[out])


def _maximum(draft: Draft, node: Node) -> None:
    axes = list(range(2, len(draft.source.shapes[node.inputs[0]])))
    if draft.source.opset < _AXES_ARE_INPUTS:
        draft.add("ReduceMax", node.inputs, node.outputs[0], name=node.name, axes=axes, keepdims=1)
    else:
        inputs = (*node.inputs, draft.constant(f"{node.outputs[0]}/axes", axes, "int64"))
        draft.add("ReduceMax", inputs, node.outputs[0], name=node.name, keepdims=1)


# Of ReduceMax (ONNX operator changelog).
_AXES_ARE_INPUTS = 18


def _blocks(draft: Draft, node: Node) -> None:
    x, out, size = node.inputs[0], node.outputs[0], int(node.attrs["blocksize"])
    batch, channels, height, width = draft.source.shapes[x]
    if node.op == "SpaceToDepth":
        inner, perm = (batch, channels, height // size, size, width // size, size), (0, 3, 5, 1, 2, 4)
    elif node.attrs.get("mode", "DCR") == "CRD":
        inner, perm = (batch, channels // size**2, size, size, height, width), (0, 1, 4, 2, 5, 3)
    else:
        inner, perm = (batch, size, size, channels // size**2, height, width), (0, 3, 4, 1, 5, 2)
    split = draft.reshape(x, f"{out}/split", inner)
    draft.reshape(draft.transpose(split, f"{out}/moved", perm), out, draft.source.shapes[out])
    draft.nodes[-1] = Node(node.name, "Reshape", draft.nodes[-1].inputs, (out,))
