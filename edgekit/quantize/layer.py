"""``Layer``: a node that multiplies by a constant, seen as rows of numbers, whatever its operator.

Each output channel of a convolution or matrix product is one row: its output at a position is the
product of the row with a *patch*, the inputs it reads there. What recovers accuracy (``rounding``,
``bias``, ``weights``) works on rows and on moments of patches, and knows no operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgekit.graph import Array, Graph, Node
from edgekit.quantize.weights import channel_axis

__all__ = ["Bias", "Layer", "layers"]


@dataclass(frozen=True)
class Bias:
    """Where the constant that is added to a layer's output per channel stands.

    Attributes
    ----------
    node, slot
        The node that adds it and the number of its input; the slot of a node without a bias is one past its last.
    factor
        What the node multiplies it by (beta of a Gemm).
    """

    node: str
    slot: int
    factor: float = 1.0

    def name(self, adder: Node) -> str:
        """Return the constant's name, or nothing: ``adder`` is the node."""
        return adder.inputs[self.slot] if self.slot < len(adder.inputs) else ""

    def given(self, adder: Node, name: str) -> Node:
        """Return the node with another constant."""
        return replace(adder, inputs=(*adder.inputs[: self.slot], name, *adder.inputs[self.slot + 1 :]))


@dataclass(frozen=True)
class Layer:
    """A node that multiplies what it reads by a constant.

    Attributes
    ----------
    node
        The node.
    weight
        The constant's name.
    groups, outputs, taps
        Rows are ``groups`` times ``outputs`` long lists of ``taps`` numbers; rows of one group share patches.
    y
        The tensor that holds the result with the bias added.
    bias
        None where there is no place for one.
    """

    node: Node
    weight: str
    groups: int
    outputs: int
    taps: int
    y: str
    bias: Bias | None

    @property
    def x(self) -> str:
        """The tensor it reads."""
        return self.node.inputs[0]

    @property
    def convolves(self) -> bool:
        """Whether it is a convolution: channels on axis 1, not last."""
        return self.node.op in ("Conv", "ConvTranspose")

    @property
    def gain(self) -> float:
        """What the node multiplies the product by (alpha of a Gemm)."""
        return float(self.node.attrs.get("alpha", 1.0)) if self.node.op == "Gemm" else 1.0

    def offsets(self, graph: Graph) -> Array:
        """Return what is added to each output channel: float64 [groups * outputs], zeros where there is no place for a bias."""
        adder = next((node for node in graph.nodes if self.bias and node.name == self.bias.node), None)
        name = self.bias.name(adder) if self.bias and adder else ""
        held = graph.weights[name].astype(np.float64).reshape(-1) * (self.bias.factor if self.bias else 1.0) if name else np.zeros(1)
        return np.broadcast_to(held, (self.groups * self.outputs,))

    def rows(self, weight: Array) -> Array:
        """Return a weight as float64 [groups, outputs, taps]."""
        held = weight.astype(np.float64)
        if self.node.op == "ConvTranspose":
            # [in, out / group, ...]: of each group the outputs come first.
            split = held.reshape(self.groups, -1, *held.shape[1:])
            held = np.swapaxes(split, 1, 2)
        elif self.node.op == "MatMul" or (self.node.op == "Gemm" and not self.node.attrs.get("transB", 0)):
            held = held.T
        return np.ascontiguousarray(held).reshape(self.groups, self.outputs, self.taps)

    def weight_of(self, rows: Array, like: Array) -> Array:
        """Return rows as a weight of the shape and dtype of ``like``."""
        if self.node.op == "ConvTranspose":
            split = rows.reshape(self.groups, self.outputs, -1, *like.shape[2:])
            held = np.swapaxes(split, 1, 2).reshape(like.shape)
        elif self.node.op == "MatMul" or (self.node.op == "Gemm" and not self.node.attrs.get("transB", 0)):
            held = rows[0].T
        else:
            held = rows.reshape(like.shape)
        return np.ascontiguousarray(held, dtype=like.dtype)


def layers(graph: Graph) -> tuple[Layer, ...]:
    """Return the layers of a graph in order.

    Left out: products with a constant of more than two dimensions, a Gemm that transposes its input,
    and paddings that are not explicit.
    """
    found = (_layer(graph, node) for node in graph.nodes)
    return tuple(layer for layer in found if layer is not None)


def _layer(graph: Graph, node: Node) -> Layer | None:
    constant = channel_axis(graph, node)
    if constant is None or graph.dtypes[node.inputs[0]] != "float32" or node.inputs[0] in graph.weights:
        return None
    name, axis = constant
    weight = graph.weights[name]
    if node.op in ("Gemm", "MatMul") and (weight.ndim != 2 or node.attrs.get("transA", 0)):
        return None
    if node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    groups = int(node.attrs.get("group", 1))
    outputs = weight.shape[axis] if node.op == "ConvTranspose" else weight.shape[axis] // groups
    y, bias = _bias(graph, node, groups * outputs)
    return Layer(node, name, groups, outputs, weight.size // (groups * outputs), y, bias)


def _bias(graph: Graph, node: Node, channels: int) -> tuple[str, Bias | None]:
    made = node.outputs[0]
    if node.op == "MatMul":
        readers = graph.consumers.get(made, ())
        if len(readers) == 1 and readers[0].op == "Add" and made not in {spec.name for spec in graph.outputs}:
            slot = 1 - readers[0].inputs.index(made)
            if _per_channel(graph.weights, readers[0].inputs[slot], channels):
                return readers[0].outputs[0], Bias(readers[0].name, slot)
        return made, None
    if len(node.inputs) < 3 or not node.inputs[2]:
        return made, Bias(node.name, 2)
    factor = float(node.attrs.get("beta", 1.0))
    return made, Bias(node.name, 2, factor) if factor and _per_channel(graph.weights, node.inputs[2], channels) else None


def _per_channel(weights: Mapping[str, Array], name: str, channels: int) -> bool:
    held = weights.get(name)
    return held is not None and held.size in (1, channels) and held.shape[-1:] in ((), (1,), (channels,))
