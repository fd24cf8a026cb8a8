"""Which tensors of a graph have their channels in common, so that these can be rescaled without changing what it computes.

A layer's output channel may be multiplied by a number if every layer that reads it divides by the number.
Relu, pooling, sums and the like hand such a factor on, so all tensors they join share it. ``equalise``
chooses the factors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgekit.graph import Graph, Node
from edgekit.quantize.layer import Bias, Layer, layers

__all__ = ["Shared", "shared_channels"]

# f(s x) = s f(x) for s > 0, channel by channel.
_BENT = frozenset({"Clip", "GlobalMaxPool", "LeakyRelu", "MaxPool", "PRelu", "Relu"})
_STRAIGHT = frozenset({"Add", "AveragePool", "GlobalAveragePool", "ReduceMean", "Reshape", "Resize", "Sub", "Transpose"})


@dataclass(frozen=True)
class Shared:
    """Tensors whose channels are the same ones.

    Attributes
    ----------
    axes
        The tensors, in graph order, each with its channel axis.
    makers, readers
        The layers that write and read them. A LayerNormalization is a maker as well: its gain is a row of one tap per channel.
    between
        The other nodes that do, in order.
    ceiling
        Where the lowest Clip among them cuts off; infinite without one.
    """

    axes: Mapping[str, int]
    makers: tuple[Layer, ...]
    readers: tuple[Layer, ...]
    between: tuple[Node, ...]
    ceiling: float

    @property
    def channels(self) -> int:
        """How many there are."""
        return self.makers[0].groups * self.makers[0].outputs

    @property
    def mixable(self) -> bool:
        """Whether any basis of the channels serves as well: all between is linear, and rows see all channels."""
        layered = all(layer.groups == 1 and layer.node.op != "LayerNormalization" for layer in (*self.makers, *self.readers))
        return layered and all(node.op in _STRAIGHT for node in self.between)

    @property
    def shiftable(self) -> bool:
        """Whether a constant may be taken off each channel and given back by the readers' biases."""
        # Padding puts zeros beside the values, and these would not be shifted; so does what a ConvTranspose reads at its borders.
        window = [*(layer.node for layer in self.readers), *self.between]
        padded = any(
            node.op == "ConvTranspose" or any(node.attrs.get("pads", ())) or node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
            for node in window
        )
        biased = all(layer.bias for layer in (*self.makers, *self.readers))
        return biased and not padded and all(node.op in _STRAIGHT for node in self.between)

    @property
    def single(self) -> bool:
        """Whether each row of the readers reads one channel alone (depthwise): its scale can undo any factor."""
        return all(layer.groups == self.channels for layer in self.readers)


def shared_channels(graph: Graph) -> tuple[Shared, ...]:
    """Return the sets of tensors whose channels can be rescaled: those that layers alone make and read, inside the graph."""
    known = {layer.node.name: layer for layer in layers(graph)}
    adders = {layer.bias.node for layer in known.values() if layer.bias and layer.bias.node != layer.node.name}
    nodes = {node.name: node for node in graph.nodes}
    sets = _Sets()
    axes: dict[str, int] = {}
    fixed = {spec.name for spec in graph.outputs}
    for node in graph.nodes:
        layer = known.get(node.name) or _normalisation(graph, node)
        if layer is not None:
            axes[layer.y] = 1 if layer.convolves else len(graph.shapes[layer.y]) - 1
            expected = 1 if layer.convolves else len(graph.shapes[layer.x]) - 1
            if layer.node.op == "LayerNormalization" or axes.get(layer.x) != expected:
                fixed.add(layer.x)
            if not _is_alone(graph, layer, nodes):
                fixed.update((layer.x, layer.y))
        elif node.name not in adders:
            axis = _handed_on(graph, node, axes)
            if axis is None:
                fixed.update(name for name in (*node.inputs, *node.outputs) if name)
                continue
            axes[node.outputs[0]] = axis
            for name in node.inputs if node.op in ("Add", "Sub") else node.inputs[:1]:
                sets.join(name, node.outputs[0])
    closed = {sets.root(name) for name in fixed}
    members: dict[str, dict[str, int]] = {}
    for name, axis in axes.items():
        members.setdefault(sets.root(name), {})[name] = axis
    everything = [layer for node in graph.nodes if (layer := known.get(node.name) or _normalisation(graph, node))]
    shared = []
    for root, own in members.items():
        makers = tuple(layer for layer in everything if layer.y in own)
        readers = tuple(layer for layer in everything if layer.x in own)
        if root in closed or not makers or not readers:
            continue
        made = {layer.node.name for layer in makers} | adders
        between = tuple(node for node in graph.nodes if node.name not in made and own.keys() & set(node.outputs))
        ceilings = [float(graph.weights[node.inputs[2]]) for node in between if node.op == "Clip"]
        shared.append(Shared(own, makers, readers, between, min(ceilings, default=math.inf)))
    return tuple(shared)


class _Sets:
    """Disjoint sets of names."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, name: str) -> str:
        while (parent := self._parent.get(name, name)) != name:
            name = parent
        return name

    def join(self, one: str, other: str) -> None:
        self._parent[self.root(one)] = self.root(other)


def _normalisation(graph: Graph, node: Node) -> Layer | None:
    """Return the last step of a LayerNormalization over the last axis, times gain plus bias, as a layer."""
    if node.op != "LayerNormalization" or len(node.inputs) < 3 or any(name not in graph.weights for name in node.inputs[1:3]):
        return None
    rank, channels = len(graph.shapes[node.inputs[0]]), graph.shapes[node.outputs[0]][-1]
    if node.attrs.get("axis", -1) not in (-1, rank - 1) or any(graph.weights[name].size != channels for name in node.inputs[1:3]):
        return None
    return Layer(node, node.inputs[1], 1, channels, 1, node.outputs[0], Bias(node.name, 2))


def _is_alone(graph: Graph, layer: Layer, nodes: Mapping[str, Node]) -> bool:
    """Whether nobody else reads the layer's weight and bias and so would see them change."""
    held = [layer.weight]
    if layer.bias:
        adder = nodes[layer.bias.node]
        held += [name for name in adder.inputs[layer.bias.slot : layer.bias.slot + 1] if name]
    has_hidden_bias = layer.bias is None and len(layer.node.inputs) > 2 and layer.node.inputs[2] != ""
    return not has_hidden_bias and all(len(graph.consumers[name]) == 1 for name in held)


def _handed_on(graph: Graph, node: Node, axes: Mapping[str, int]) -> int | None:
    """Return the channel axis of what a node makes if it treats all channels of its input alike, for any factors; else None."""
    source, made = node.inputs[0] if node.inputs else "", node.outputs[0]
    axis = axes.get(source)
    if axis is None or node.op not in _BENT | _STRAIGHT or any(name in graph.consumers for name in node.outputs[1:]):
        return None
    before, after = graph.shapes[source], graph.shapes[made]
    if node.op in ("Add", "Sub"):
        same = all(axes.get(name) == axis and graph.shapes[name] == after for name in node.inputs)
        return axis if same else None
    if node.op == "Clip":
        bounds = [float(graph.weights[name]) for name in node.inputs[1:3] if name in graph.weights]
        return axis if len(bounds) == 2 and bounds[0] == 0.0 < bounds[1] else None
    if node.op == "PRelu":
        slope = graph.weights.get(node.inputs[1])
        return axis if slope is not None else None
    if node.op == "Transpose":
        return list(node.attrs["perm"]).index(axis) if "perm" in node.attrs else None
    if node.op == "Reshape":
        if before[: axis + 1] == after[: axis + 1]:
            return axis
        return len(after) - 1 if axis == len(before) - 1 and before[-1] == after[-1] else None
    if node.op == "ReduceMean":
        gone = _reduced(graph, node)
        return None if gone is None or axis in gone else axis - (0 if node.attrs.get("keepdims", 1) else sum(g < axis for g in gone))
    if node.op in ("LeakyRelu", "Relu"):
        return axis
    odd = node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    return axis if axis == 1 and before[:2] == after[:2] and not odd else None


def _reduced(graph: Graph, node: Node) -> set[int] | None:
    """Return the axes a ReduceMean goes over; None where they are computed or not said."""
    axes = graph.weights.get(node.inputs[1]) if len(node.inputs) > 1 else node.attrs.get("axes")
    rank = len(graph.shapes[node.inputs[0]])
    return None if axes is None else {int(axis) % rank for axis in np.asarray(axes).reshape(-1)}
