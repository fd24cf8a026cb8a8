"""``attentions``: the Attention operator (opset 23) becomes the products and the softmax that it is. Used by ``rewrite``."""

from __future__ import annotations

import math

import numpy as np

from edgekit.draft import Draft
from edgekit.graph import Graph, Node

__all__ = ["attentions"]


def attentions(graph: Graph) -> Graph:
    """Spell out every Attention of as many key heads as query heads, without a cache of past keys."""
    draft = Draft(graph)
    for node in graph.nodes:
        if node.op == "Attention" and _plain(graph, node):
            _write(draft, node)
        else:
            draft.nodes.append(node)
    return draft.finish()


def _plain(graph: Graph, node: Node) -> bool:
    q, k = (graph.shapes[name] for name in node.inputs[:2])
    heads = (q[1], k[1]) if len(q) == 4 else (node.attrs.get("q_num_heads"), node.attrs.get("kv_num_heads"))
    alone = not any(node.inputs[4:]) and not any(name in graph.consumers for name in node.outputs[1:])
    return alone and heads[0] == heads[1] and not node.attrs.get("softcap", 0.0)


def _write(draft: Draft, node: Node) -> None:
    """ONNX operator Attention: softmax(q k^T scale + mask) v, heads apart."""
    out = node.outputs[0]
    flat = len(draft.shapes[node.inputs[0]]) == 3
    q, k, v = (_heads(draft, node, name, f"{out}/{key}") if flat else name for name, key in zip(node.inputs[:3], "qkv", strict=True))
    (batch, heads, queries, depth), keys = draft.shapes[q], draft.shapes[k][2]
    shape = (batch, heads, queries, keys)
    scores = draft.add("MatMul", (q, draft.transpose(k, f"{out}/keys", (0, 1, 3, 2))), f"{out}/product", shape, name=node.name)
    scale = draft.constant(f"{out}/scale", float(node.attrs.get("scale", 0.0)) or 1.0 / math.sqrt(depth))
    scores = draft.add("Mul", (scores, scale), f"{out}/scores", shape)
    if node.attrs.get("is_causal"):
        later = np.triu(np.full((queries, keys), -np.inf, np.float32), 1)
        scores = draft.add("Add", (scores, draft.constant(f"{out}/causal", later)), f"{out}/earlier", shape)
    mask = node.inputs[3] if len(node.inputs) > 3 else ""
    if mask and draft.dtypes[mask] == "bool":
        scores = draft.add("Where", (mask, scores, draft.constant(f"{out}/never", -np.inf)), f"{out}/masked", shape)
    elif mask:
        scores = draft.add("Add", (scores, mask), f"{out}/masked", shape)
    weights = draft.add("Softmax", (scores,), f"{out}/weights", shape, axis=-1)
    width = draft.shapes[v][3]
    if not flat:
        draft.add("MatMul", (weights, v), out)
        return
    mixed = draft.add("MatMul", (weights, v), f"{out}/mixed", (batch, heads, queries, width))
    draft.reshape(draft.transpose(mixed, f"{out}/joined", (0, 2, 1, 3)), out, (batch, queries, heads * width))


def _heads(draft: Draft, node: Node, name: str, target: str) -> str:
    """Turn [batch, steps, heads x depth] into [batch, heads, steps, depth]."""
    batch, steps, width = draft.shapes[name]
    heads = int(node.attrs["q_num_heads"])
    return draft.transpose(draft.reshape(name, f"{target}/apart", (batch, steps, heads, width // heads)), f"{target}/heads", (0, 2, 1, 3))
