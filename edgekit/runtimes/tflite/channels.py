"""Rewrites of what moves channels: block shuffles spelled out become operators, and orders of channels go into convolutions.

TFLite keeps images channels last and its blocks as [row, column, channel]. A pixel shuffle of PyTorch is then an
order of channels and a DEPTH_TO_SPACE, and the order costs nothing where a convolution makes or takes the channels.
Used by ``restate``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.draft import Draft
from edgekit.graph import Array, Graph, Node
from edgekit.pattern import sole_reader

__all__ = ["block_shuffles", "fold_orders"]

# Value by value and the same for every channel: an order of channels may stand before or behind.
_BLIND = frozenset({"Clip", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh"})


def block_shuffles(graph: Graph) -> Graph:
    """Turn Reshape, Transpose, Reshape that shuffle channels and pixels into what they mean, and CRD blocks into DCR ones."""
    draft = Draft(graph)
    for node in graph.nodes:
        found = _shuffle(graph, node) if node.op == "Reshape" else None
        if found is not None:
            _write(draft, node, *found)
        elif node.op == "DepthToSpace" and node.attrs.get("mode", "DCR") == "CRD":
            _write(draft, node, node.inputs[0], "CRD", int(node.attrs["blocksize"]))
        else:
            draft.nodes.append(node)
    return draft.finish()


def _shuffle(graph: Graph, node: Node) -> tuple[str, str, int] | None:
    """Return (source, which shuffle, block or number of groups) if the node ends one."""
    turn = graph.producers.get(node.inputs[0])
    first = graph.producers.get(turn.inputs[0]) if turn is not None and turn.op == "Transpose" else None
    if turn is None or first is None or first.op != "Reshape" or len(graph.shapes[node.outputs[0]]) != 4:
        return None
    source, apart, perm = first.inputs[0], graph.shapes[first.outputs[0]], tuple(turn.attrs["perm"])
    if len(graph.shapes[source]) != 4:
        return None
    (batch, channels, height, width), after = graph.shapes[source], graph.shapes[node.outputs[0]]
    if len(apart) == 5 and perm == (0, 2, 1, 3, 4):
        return (source, "groups", apart[1]) if after == (batch, channels, height, width) and apart[3:] == (height, width) else None
    if len(apart) != 6:
        return None
    spread = {(0, 1, 4, 2, 5, 3): ("CRD", apart[2]), (0, 3, 4, 1, 5, 2): ("DCR", apart[1])}.get(perm)
    if spread is not None:
        which, block = spread
        inner = channels // (block * block)
        wanted = (batch, inner, block, block, height, width) if which == "CRD" else (batch, block, block, inner, height, width)
        return (source, which, block) if apart == wanted and after == (batch, inner, height * block, width * block) else None
    gathered = {(0, 3, 5, 1, 2, 4): "depth", (0, 1, 3, 5, 2, 4): "unshuffle"}.get(perm)
    block = apart[3]
    if gathered is None or apart != (batch, channels, height // block, block, width // block, block):
        return None
    return (source, gathered, block) if after == (batch, channels * block * block, height // block, width // block) else None


def _write(draft: Draft, node: Node, source: str, which: str, count: int) -> None:
    out = node.outputs[0]
    channels = draft.shapes[source][1]
    if which == "groups":
        _ordered(draft, source, out, np.arange(channels).reshape(count, -1).T.reshape(-1), name=node.name)
    elif which in ("CRD", "DCR"):
        if which == "CRD":
            order = np.arange(channels).reshape(-1, count * count).T.reshape(-1)
            source = _ordered(draft, source, f"{out}/ordered", order)
        draft.add("DepthToSpace", (source,), out, name=node.name, blocksize=count)
    elif which == "depth":
        draft.add("SpaceToDepth", (source,), out, name=node.name, blocksize=count)
    else:
        blocks = draft.add("SpaceToDepth", (source,), f"{out}/blocks", draft.shapes[out], blocksize=count)
        _ordered(draft, blocks, out, np.arange(draft.shapes[out][1]).reshape(-1, channels).T.reshape(-1), name=node.name)


def _ordered(draft: Draft, source: str, output: str, order: Sequence[int] | Array, *, name: str = "") -> str:
    """Add a Gather that puts channels in another order."""
    indices = draft.constant(f"{output}/order", order, "int64")
    return draft.add("Gather", (source, indices), output, draft.shapes[source], name=name, axis=1)


def fold_orders(graph: Graph) -> Graph:
    """Take orders of channels into the convolution that makes these, or into the one that alone takes them."""
    while True:
        for node in graph.nodes:
            order = _order(graph, node)
            folded = None if order is None else _into_maker(graph, node, order) or _into_reader(graph, node, order)
            if folded is not None:
                graph = folded
                break
        else:
            return graph


def _order(graph: Graph, node: Node) -> Array | None:
    """Return the order that a Gather puts all the channels of an image in."""
    if node.op != "Gather" or node.attrs.get("axis", 0) != 1 or len(graph.shapes[node.outputs[0]]) != 4:
        return None
    order = graph.weights.get(node.inputs[1])
    whole = order is not None and order.ndim == 1 and np.array_equal(np.sort(order), np.arange(graph.shapes[node.inputs[0]][1]))
    return order if whole else None


def _into_maker(graph: Graph, node: Node, order: Array) -> Graph | None:
    """Reorder the filters of the convolution before; functions in between do not see the channels."""
    tensor = node.inputs[0]
    while (maker := graph.producers.get(tensor)) is not None and sole_reader(graph, tensor) is not None:
        if maker.op == "Conv" and maker.attrs.get("group", 1) == 1 and all(name in graph.weights for name in maker.inputs[1:] if name):
            draft = Draft(graph)
            names = [draft.constant(f"{name}/{node.outputs[0]}", graph.weights[name][order]) for name in maker.inputs[1:] if name]
            reordered = Node(maker.name, "Conv", (maker.inputs[0], *names), maker.outputs, maker.attrs)
            return _without(draft, node, maker, reordered)
        if maker.op not in _BLIND:
            return None
        tensor = maker.inputs[0]
    return None


def _into_reader(graph: Graph, node: Node, order: Array) -> Graph | None:
    """Reorder the inputs of the convolution behind."""
    reader = sole_reader(graph, node.outputs[0])
    if reader is None or reader.op != "Conv" or reader.attrs.get("group", 1) != 1 or reader.inputs[1] not in graph.weights:
        return None
    draft = Draft(graph)
    weight = draft.constant(f"{reader.inputs[1]}/{node.outputs[0]}", graph.weights[reader.inputs[1]][:, np.argsort(order)])
    reordered = Node(reader.name, "Conv", (reader.inputs[0], weight, *reader.inputs[2:]), reader.outputs, reader.attrs)
    return _without(draft, node, reader, reordered)


def _without(draft: Draft, gather: Node, old: Node, new: Node) -> Graph:
    """Finish a draft with one convolution exchanged and the Gather gone: its readers read what it read, or its maker makes what it made."""
    before, after = gather.inputs[0], gather.outputs[0]
    kept = after in {spec.name for spec in draft.source.outputs}
    for node in draft.source.nodes:
        if node is gather:
            continue
        node = new if node is old else node
        inputs = tuple(before if name == after and not kept else after if name == before and kept else name for name in node.inputs)
        outputs = tuple(after if name == before and kept else name for name in node.outputs)
        draft.nodes.append(Node(node.name, node.op, inputs, outputs, node.attrs))
    return draft.finish()
