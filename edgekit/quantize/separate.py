"""Give the few loud channels of a hidden layer a tensor, and so a scale, of their own.

Between the two products of a feed-forward block stands an activation, so no channel of the hidden tensor can be
rescaled. But the block is a sum over these channels: ``B f(A x) = B1 f(A1 x) + B2 f(A2 x)``, whichever channels go where.
In trained transformers eight of 1,536 may be five times louder than the rest. (Dettmers et al. 2022, "LLM.int8()", keeps
them in float16; as a product of its own they stay int8.) The second sum joins what is added in float anyway.

``balance`` calls it, for each part can then be balanced by itself.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from edgekit.draft import Draft
from edgekit.graph import Array, Graph, Node
from edgekit.pattern import sole_reader
from edgekit.quantize.layer import Layer, layers
from edgekit.quantize.spread import Samples, Spread, spreads

__all__ = ["separate"]

# They work value by value, so a part of the channels is a part of the result.
_ACTIVATIONS = frozenset({"Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh"})
# Channels go apart in multiples of this: kernels work on so many at once.
_CHUNK = 8
_LOUD_MAX = 0.25
# Below a quarter of the noise (6 dB, one bit) a second product is worth its time.
_WORTH = 0.25


@dataclass(frozen=True)
class _Block:
    """Two layers with an activation between, and the sum behind: every tensor has one reader."""

    first: Layer
    between: tuple[Node, ...]
    second: Layer
    behind: tuple[Node, ...]
    sum: Node


def separate(graph: Graph, samples: Samples, floats: Collection[str]) -> tuple[Graph, frozenset[str]]:
    """Return a graph that computes the same, with loud hidden channels apart, and the sums in it that are new.

    Parameters
    ----------
    floats
        Names of the nodes that are not int8; only blocks whose result is added to something by one of them are changed.

    Raises
    ------
    InputError
        See ``spreads``.
    """
    blocks = [block for layer in layers(graph) if (block := _block(graph, layer, floats)) is not None]
    if not blocks:
        return graph, frozenset()
    axes = {block.second.x: len(graph.shapes[block.second.x]) - 1 for block in blocks}
    seen = spreads(graph, axes, (), samples)
    loud = {block.sum.name: _loud(graph, block, seen[block.second.x]) for block in blocks}
    changed = {block.sum.name: block for block in blocks if len(loud[block.sum.name])}
    if not changed:
        return graph, frozenset()
    gone = {node.name for block in changed.values() for node in (block.first.node, *block.between, block.second.node, *block.behind)}
    draft = Draft(graph)
    for node in graph.nodes:
        if node.name in changed:
            _write(draft, changed[node.name], loud[node.name])
        elif node.name not in gone:
            draft.nodes.append(node)
    return draft.finish(), frozenset(f"{name}/loud" for name in changed)


def _block(graph: Graph, first: Layer, floats: Collection[str]) -> _Block | None:
    if not _is_dense(graph, first, floats):
        return None
    between = _chain(graph, first.y, _ACTIVATIONS)
    if not any(node.op in _ACTIVATIONS for node in between):
        return None
    reader = sole_reader(graph, between[-1].outputs[0])
    second = next((layer for layer in layers(graph) if reader is not None and layer.node is reader), None)
    if second is None or second.x != between[-1].outputs[0] or not _is_dense(graph, second, floats):
        return None
    behind = _chain(graph, second.y, frozenset())
    total = sole_reader(graph, behind[-1].outputs[0] if behind else second.y)
    if total is None or total.op != "Add" or total.name not in floats or total.inputs[0] == total.inputs[1]:
        return None
    return _Block(first, between, second, behind, total)


def _is_dense(graph: Graph, layer: Layer, floats: Collection[str]) -> bool:
    """Tell whether a layer is one int8 Gemm by a constant of its own, and all it adds is per channel."""
    node = layer.node
    plain = node.op == "Gemm" and node.name not in floats and layer.y == node.outputs[0] and len(graph.consumers[layer.weight]) == 1
    return plain and (len(node.inputs) < 3 or (layer.bias is not None and node.inputs[2] in graph.weights))


def _chain(graph: Graph, name: str, operators: Collection[str]) -> tuple[Node, ...]:
    """Return the nodes behind a tensor, one after another, that leave the last axis and work on each value alone."""
    found: list[Node] = []
    while (reader := sole_reader(graph, name)) is not None:
        keeps = reader.op == "Reshape" and graph.shapes[name][-1:] == graph.shapes[reader.outputs[0]][-1:]
        if not keeps and reader.op not in operators:
            break
        found.append(reader)
        name = reader.outputs[0]
    return tuple(found)


def _loud(graph: Graph, block: _Block, seen: Spread) -> Array:
    """Return the hidden channels to put apart; none where that is not worth it.

    The noise of rounding the hidden tensor is its step squared times the weights it meets.
    """
    power = (block.second.rows(graph.weights[block.second.weight])[0] ** 2).sum(axis=0)
    order = np.argsort(-seen.largest, kind="stable")
    peaks, powers = seen.largest[order], power[order]
    behind = np.append(np.cumsum(powers[::-1])[::-1], 0.0)

    def noise(count: int) -> float:
        return float(peaks[0] ** 2 * (behind[0] - behind[count]) + peaks[count] ** 2 * behind[count])

    best = min(range(0, int(_LOUD_MAX * len(peaks)) + 1, _CHUNK), key=noise)
    found: Array = np.sort(order[: best if noise(best) < _WORTH * noise(0) else 0])
    return found


def _write(draft: Draft, block: _Block, loud: Array) -> None:
    width = draft.shapes[block.second.x][-1]
    rest = np.setdiff1d(np.arange(width), loud)
    total, wanted = block.sum, block.behind[-1].outputs[0] if block.behind else block.second.y
    (other,) = [name for name in total.inputs if name != wanted]
    out = total.outputs[0]
    quiet = draft.add("Add", (_part(draft, block, rest, "rest", with_bias=True), other), f"{out}/quiet", draft.shapes[out], name=total.name)
    draft.add("Add", (quiet, _part(draft, block, loud, "loud", with_bias=False)), out, name=f"{total.name}/loud")


def _part(draft: Draft, block: _Block, channels: Array, which: str, *, with_bias: bool) -> str:
    """Add a block of some hidden channels; return its result."""
    held = _product(draft, block.first, which, rows=channels)
    for node in block.between:
        held = _again(draft, node, held, which)
    held = _product(draft, block.second, which, taps=channels, with_bias=with_bias)
    for node in block.behind:
        held = _again(draft, node, held, which)
    return held


def _product(
    draft: Draft, layer: Layer, which: str, *, rows: Array | None = None, taps: Array | None = None, with_bias: bool = True
) -> str:
    """Add a layer with some of its outputs, or reading some of its inputs."""
    graph, node = draft.source, layer.node
    weight = layer.rows(graph.weights[layer.weight])[0]
    # Rows of outputs over taps, whatever the Gemm's own order.
    part = (weight if rows is None else weight[rows])[:, slice(None) if taps is None else taps]
    name = f"{node.name}/{which}"
    inputs = [layer.x if taps is None else f"{layer.x}/{which}", draft.constant(f"{name}/weight", part)]
    if len(node.inputs) > 2 and node.inputs[2] and with_bias:
        bias = np.broadcast_to(graph.weights[node.inputs[2]].reshape(-1), (len(weight),))
        inputs.append(draft.constant(f"{name}/bias", bias if rows is None else bias[rows]))
    attrs = {key: value for key, value in node.attrs.items() if key in ("alpha", "beta")}
    made = f"{node.outputs[0]}/{which}"
    return draft.add("Gemm", inputs, made, (*graph.shapes[layer.y][:-1], len(part)), name=name, **attrs, transB=1)


def _again(draft: Draft, node: Node, held: str, which: str) -> str:
    made = f"{node.outputs[0]}/{which}"
    shape = (*draft.source.shapes[node.outputs[0]][:-1], draft.shapes[held][-1])
    others = (draft.constant(f"{made}/shape", shape, "int64"),) if node.op == "Reshape" else node.inputs[1:]
    return draft.add(node.op, (held, *others), made, shape, name=f"{node.name}/{which}", **node.attrs)
