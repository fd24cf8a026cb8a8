"""Even out the channels of tensors that cross between float and int8, where a scale per channel costs next to nothing.

An int8 tensor has one scale, so one channel a hundred times larger than the others leaves them a hundredth of the
levels: that is what keeps transformers from int8. Where such a tensor comes from a float node, or goes to float
nodes alone, a product per channel beside the matrix product evens it out, and the weights take the inverse: the
network computes the same.

- Into a layer: ``x -> Mul(1 / s) -> MatMul(s W)``. Xiao et al. 2023, "SmoothQuant", which balances ``x`` against ``W``.
- Out of a layer: ``MatMul(W / s), bias / s -> Mul(s)``. Rows of W have a scale each, so they lose nothing.
- Within a block of two layers, where neither can be, loud channels go apart first: ``separate``.

The pipeline calls ``balance`` before ranges are observed; the new products are light float arithmetic to a runtime.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np

from edgekit.draft import Draft
from edgekit.graph import Array, Graph, Node
from edgekit.quantize.layer import Layer, layers
from edgekit.quantize.separate import separate
from edgekit.quantize.spread import Samples, Spread, spreads

__all__ = ["balance"]

# How much of the range's unevenness the weights take over: candidates, of which the least noise wins.
_SHARES = np.linspace(0.0, 1.0, 11)
# Below a quarter of the noise (6 dB, one bit) a product is worth its time.
_WORTH = 0.25
# Of the median: a channel that was hardly ever seen may yet come.
_LEAST = 0.1


def balance(graph: Graph, samples: Samples, floats: Collection[str]) -> Graph:
    """Return a graph that computes the same, with the channels evened out where int8 meets float.

    Parameters
    ----------
    samples
        Calibration samples, as ``observe`` takes them; a few dozen are read.
    floats
        Names of the nodes that are not int8.

    Raises
    ------
    InputError
        See ``spreads``.
    """
    graph, sums = separate(graph, samples, floats)
    floats = {*floats, *sums}
    dense = [layer for layer in layers(graph) if layer.node.op in ("Gemm", "MatMul") and layer.node.name not in floats]
    entered = _by_source([layer for layer in dense if _comes_from(graph, layer.x, floats)])
    left = [layer for layer in dense if _can_be_scaled(layer) and _goes_to(graph, layer.y, floats)]
    if not entered and not left:
        return graph
    axes = {name: len(graph.shapes[name]) - 1 for name in (*entered, *(layer.y for layer in left))}
    seen = spreads(graph, axes, (), samples)
    into = {x: _into(graph, group, seen[x]) for x, group in entered.items()}
    out_of = {layer.y: _out_of(seen[layer.y]) for layer in left}
    scales_in = {layer.node.name: into[x] for x, group in entered.items() for layer in group}
    scales_out = {layer.node.name: out_of[layer.y] for layer in left}
    touched = [layer for layer in dense if scales_in.get(layer.node.name) is not None or scales_out.get(layer.node.name) is not None]
    return _rewritten(graph, touched, scales_in, scales_out) if touched else graph


def _by_source(found: Iterable[Layer]) -> dict[str, list[Layer]]:
    groups: dict[str, list[Layer]] = {}
    for layer in found:
        groups.setdefault(layer.x, []).append(layer)
    return groups


def _keeps_channels(graph: Graph, node: Node) -> bool:
    return node.op == "Reshape" and graph.shapes[node.inputs[0]][-1:] == graph.shapes[node.outputs[0]][-1:]


def _comes_from(graph: Graph, name: str, floats: Collection[str]) -> bool:
    """Tell whether a float node makes a tensor, reshapes apart."""
    maker = graph.producers.get(name)
    while maker and _keeps_channels(graph, maker):
        maker = graph.producers.get(maker.inputs[0])
    return maker is not None and maker.name in floats


def _goes_to(graph: Graph, name: str, floats: Collection[str]) -> bool:
    """Tell whether float nodes alone read a tensor, reshapes apart."""
    readers = graph.consumers.get(name, ())
    if not readers or name in {spec.name for spec in graph.outputs}:
        return False
    return all(_goes_to(graph, node.outputs[0], floats) if _keeps_channels(graph, node) else node.name in floats for node in readers)


def _can_be_scaled(layer: Layer) -> bool:
    """Tell whether all that is added to a layer's output is per channel."""
    return layer.bias is not None or len(layer.node.inputs) < 3 or not layer.node.inputs[2]


def _floored(peaks: Array) -> Array:
    floor = max(_LEAST * float(np.median(peaks)), 1e-6 * float(peaks.max()), np.finfo(np.float32).tiny)
    floored: Array = np.maximum(peaks, floor)
    return floored


def _into(graph: Graph, group: Iterable[Layer], seen: Spread) -> Array | None:
    """Return what to divide each input channel of some layers by, or None where that is not worth a product."""
    rows = np.concatenate([layer.rows(graph.weights[layer.weight])[0] for layer in group])
    peaks, columns = _floored(seen.largest), _floored(np.abs(rows).max(axis=0))

    def noise(scales: Array) -> float:
        """Variance of the layers' outputs by rounding the input and the weights, but for a factor common to both."""
        step = float((seen.largest / scales).max())
        by_input = step**2 * float(((rows * scales) ** 2).sum())
        by_weights = float((np.abs(rows * scales).max(axis=1) ** 2).sum()) * float((seen.power / scales**2).sum())
        return by_input + by_weights

    candidates = [peaks**share / columns ** (1 - share) for share in _SHARES]
    best: Array = min(candidates, key=noise)
    if noise(best) > _WORTH * noise(np.ones_like(best)):
        return None
    return _around_one(best)


def _out_of(seen: Spread) -> Array | None:
    """Return what to divide each output channel of a layer by, or None where that is not worth a product."""
    peaks = _floored(seen.largest)
    if (peaks**2).mean() > _WORTH * peaks.max() ** 2:
        return None
    return _around_one(peaks)


def _around_one(scales: Array) -> Array:
    centred: Array = scales / np.exp(np.log(scales).mean())
    return centred


def _rewritten(
    graph: Graph, touched: Iterable[Layer], scales_in: Mapping[str, Array | None], scales_out: Mapping[str, Array | None]
) -> Graph:
    draft = Draft(graph)
    by_node = {layer.node.name: layer for layer in touched}
    # The node that makes a layer's finished output, and the layer.
    makers = {graph.producers[layer.y].name: layer for layer in touched if scales_out.get(layer.node.name) is not None}
    for node in graph.nodes:
        layer, finished = by_node.get(node.name), makers.get(node.name)
        if layer:
            node = _weighted(draft, layer, node, scales_in.get(node.name), scales_out.get(node.name))
        if finished is None:
            draft.nodes.append(node)
            continue
        scales = scales_out[finished.node.name]
        assert scales is not None
        y, bias = finished.y, finished.bias
        if bias and bias.node == node.name and bias.slot < len(node.inputs):
            evened = draft.constant(f"{y}/evened_bias", graph.weights[node.inputs[bias.slot]] / scales)
            node = replace(node, inputs=(*node.inputs[: bias.slot], evened, *node.inputs[bias.slot + 1 :]))
        draft.shapes[f"{y}/evened"], draft.dtypes[f"{y}/evened"] = graph.shapes[y], "float32"
        draft.nodes.append(replace(node, outputs=(f"{y}/evened",)))
        draft.add("Mul", (f"{y}/evened", draft.constant(f"{y}/scales", scales)), y, name=f"{y}/restore")
    return draft.finish()


def _weighted(draft: Draft, layer: Layer, node: Node, scales_in: Array | None, scales_out: Array | None) -> Node:
    """Return a layer's node with its weight scaled, and reading its evened input, which is added once."""
    graph = draft.source
    weight = graph.weights[layer.weight]
    rows, x = layer.rows(weight), layer.x
    if scales_in is not None:
        rows = rows * scales_in
        if f"{x}/evened" not in draft.shapes:
            inverse = draft.constant(f"{x}/scales", 1.0 / scales_in)
            draft.add("Mul", (x, inverse), f"{x}/evened", graph.shapes[x], name=f"{x}/even")
        x = f"{x}/evened"
    if scales_out is not None:
        rows = rows / scales_out[:, None]
    name = draft.constant(f"{layer.node.name}/evened_weight", layer.weight_of(rows, weight))
    return replace(node, inputs=(x, name, *node.inputs[2:]))
