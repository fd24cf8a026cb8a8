"""``lift``: a network over sequences [N, C, L] becomes one over images [N, C, 1, L] of height 1.

Convolutions, pools and resizes of one dimension are those of two with a size of 1 in the first, and runtimes have
the latter. The tensors between them stay images; a Reshape stands only where something else reads or makes them.
Used by ``rewrite``, after windows are stated in full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edgekit.draft import Draft
from edgekit.graph import Graph, Node
from edgekit.pattern import reduced_axes

__all__ = ["lift"]

# Where the axes of a sequence stand in the image.
_PLACE = (0, 1, 3)

_POOLS = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "MaxPool")
_ANCHORS = frozenset({"Conv", "ConvTranspose", "Resize", *_POOLS})
_UNARY = (
    *("Abs", "Celu", "Clip", "Dropout", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Mish"),
    *("Neg", "Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh", "ThresholdedRelu"),
    # Statistics per channel do not see the shape of the rest.
    *("BatchNormalization", "InstanceNormalization"),
)
_BINARY = ("Add", "Div", "Max", "Min", "Mul", "PRelu", "Pow", "Sub")
_REDUCTIONS = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")


def lift(graph: Graph) -> Graph:
    """Turn sequences into images wherever a one-dimensional window needs it, and as far as that carries."""
    if not any(_is_anchor(graph, node) for node in graph.nodes):
        return graph
    lifting = _Lifting(graph)
    for node in graph.nodes:
        lifting.node(node)
    return lifting.finish()


def _is_anchor(graph: Graph, node: Node) -> bool:
    if node.op not in _ANCHORS or len(graph.shapes[node.inputs[0]]) != 3 or len(node.outputs) != 1:
        return False
    if node.op == "Resize":
        plain = "axes" not in node.attrs and node.attrs.get("coordinate_transformation_mode") != "tf_crop_and_resize"
        return plain and all(name in graph.weights for name in node.inputs[1:] if name)
    return node.op in _POOLS or node.inputs[1] in graph.weights


class _Lifting:
    """The graph as it is rewritten: which sequences are made as images, and which are there as both."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.draft = graph, Draft(graph)
        self._outputs = {spec.name for spec in graph.outputs}
        self._lifted: set[str] = set()
        self._image: dict[str, str] = {}
        self._line: dict[str, str] = {}

    def node(self, node: Node) -> None:
        """Write a node, as one over images where it is or can be."""
        if _is_anchor(self.graph, node):
            self._anchor(node)
            return
        write = _FOLLOWERS.get(node.op)
        follows = self._lifted.intersection(node.inputs) and (len(node.outputs) == 1 or node.op == "Split")
        if write is None or not follows or not write(self, node):
            self.draft.nodes.append(replace(node, inputs=tuple(self.line(name) for name in node.inputs)))

    def image(self, name: str) -> str:
        """Return a sequence as an image."""
        if name not in self._image:
            batch, channels, length = self.graph.shapes[name]
            maker = self.graph.producers.get(name)
            if maker is not None and maker.op == "Transpose" and maker.attrs["perm"] == [0, 2, 1]:
                # [N, L, C] is an image whose channels stand last: kept so, the transposition may fall away.
                source = self.draft.reshape(self.line(maker.inputs[0]), f"{name}/last", (batch, 1, length, channels))
                self._image[name] = self.draft.transpose(source, f"{name}/image", (0, 3, 1, 2))
            else:
                self._image[name] = self.draft.reshape(name, f"{name}/image", (batch, channels, 1, length))
        return self._image[name]

    def line(self, name: str) -> str:
        """Return a sequence as itself."""
        if name not in self._lifted:
            return name
        if name not in self._line:
            target = name if name in self._outputs else f"{name}/line"
            self._line[name] = self.draft.reshape(self._image[name], target, self.graph.shapes[name])
        return self._line[name]

    def _anchor(self, node: Node) -> None:
        attrs = dict(node.attrs)
        for key, filler in (("kernel_shape", 1), ("strides", 1), ("dilations", 1), ("output_padding", 0)):
            if key in attrs:
                attrs[key] = [filler, *attrs[key]]
        if "pads" in attrs:
            begin, end = attrs["pads"]
            attrs["pads"] = [0, begin, 0, end]
        inputs = [self.image(node.inputs[0]), *node.inputs[1:]]
        if node.op in ("Conv", "ConvTranspose"):
            weight = self.graph.weights[node.inputs[1]]
            inputs[1] = self.draft.constant(f"{node.inputs[1]}/image", np.expand_dims(weight, 2))
        if node.op == "Resize":
            inputs[1:] = ["", *(self._inserted(name, self.graph.dtypes.get(name, "")) for name in node.inputs[2:])]
        self.write(node, inputs, attrs)

    def _inserted(self, name: str, dtype: str) -> str:
        """Return the constant with a 1 for the height."""
        if not name or not self.graph.weights[name].size:
            return name
        return self.draft.constant(f"{name}/image", np.insert(self.graph.weights[name], 2, 1), dtype)

    def write(self, node: Node, inputs: list[str], attrs: Mapping[str, Any]) -> bool:
        """Write a node whose outputs are images; they have the names of the sequences, but for the graph's outputs."""
        for name in node.outputs:
            batch, channels, length = self.graph.shapes[name]
            made = f"{name}/image" if name in self._outputs else name
            self.draft.shapes[made], self.draft.dtypes[made] = (batch, channels, 1, length), self.graph.dtypes[name]
            self._image[name] = made
        self._lifted.update(node.outputs)
        self.draft.nodes.append(Node(node.name, node.op, tuple(inputs), tuple(self._image[name] for name in node.outputs), dict(attrs)))
        return True

    def operand(self, name: str) -> str:
        """Return what a node over images reads for an operand of one over sequences."""
        if name not in self.graph.weights:
            return self.image(name)
        values = self.graph.weights[name]
        if values.ndim == 0:
            return name
        wide = values.reshape((1,) * (3 - values.ndim) + values.shape)
        return self.draft.constant(f"{name}/image", np.expand_dims(wide, 2), values.dtype.name)

    def finish(self) -> Graph:
        """Return the graph; its outputs are sequences again."""
        for spec in self.graph.outputs:
            self.line(spec.name)
        return self.draft.finish()


def _unary(lifting: _Lifting, node: Node) -> bool:
    return lifting.write(node, [lifting.image(node.inputs[0]), *node.inputs[1:]], node.attrs)


def _binary(lifting: _Lifting, node: Node) -> bool:
    graph = lifting.graph
    if any(len(graph.shapes[name]) != 3 and (name not in graph.weights or len(graph.shapes[name]) > 3) for name in node.inputs):
        return False
    return lifting.write(node, [lifting.operand(name) for name in node.inputs], node.attrs)


def _concat(lifting: _Lifting, node: Node) -> bool:
    inputs = [lifting.operand(name) for name in node.inputs]
    return lifting.write(node, inputs, {**node.attrs, "axis": _PLACE[int(node.attrs["axis"]) % 3]})


def _along(lifting: _Lifting, node: Node) -> bool:
    """Split, Softmax: what works along one axis."""
    default = 0 if node.op == "Split" else -1
    inputs = [lifting.image(node.inputs[0]), *node.inputs[1:]]
    return lifting.write(node, inputs, {**node.attrs, "axis": _PLACE[int(node.attrs.get("axis", default)) % 3]})


def _slice(lifting: _Lifting, node: Node) -> bool:
    constants = [lifting.graph.weights.get(name) for name in node.inputs[1:] if name]
    if any(array is None for array in constants):
        return False
    given = node.inputs[3] if len(node.inputs) > 3 else ""
    axes = lifting.graph.weights[given].tolist() if given else list(range(lifting.graph.weights[node.inputs[1]].size))
    places = lifting.draft.constant(f"{node.outputs[0]}/axes", [_PLACE[axis % 3] for axis in axes], "int64")
    return lifting.write(node, [lifting.image(node.inputs[0]), *node.inputs[1:3], places, *node.inputs[4:]], node.attrs)


def _pad(lifting: _Lifting, node: Node) -> bool:
    if any(name not in lifting.graph.weights for name in node.inputs[1:] if name):
        return False
    amounts = lifting.graph.weights[node.inputs[1]].tolist()
    axes = lifting.graph.weights[node.inputs[3]].tolist() if len(node.inputs) > 3 and node.inputs[3] else [0, 1, 2]
    pads = np.zeros((2, 4), np.int64)
    for number, axis in enumerate(axes):
        pads[:, _PLACE[axis % 3]] = amounts[number], amounts[number + len(axes)]
    inputs = [lifting.image(node.inputs[0]), lifting.draft.constant(f"{node.outputs[0]}/pads", pads.reshape(-1), "int64")]
    return lifting.write(node, [*inputs, *node.inputs[2:3]], node.attrs)


def _reduction(lifting: _Lifting, node: Node) -> bool:
    """Reduce over the length (and then over the height as well, which is 1)."""
    keep = bool(node.attrs.get("keepdims", 1))
    if reduced_axes(lifting.graph, node) != (2,):
        return False
    out = node.outputs[0]
    attrs: dict[str, Any] = {"keepdims": int(keep)}
    inputs = [lifting.image(node.inputs[0])]
    if lifting.graph.opset >= 18 or node.op == "ReduceSum":
        inputs.append(lifting.draft.constant(f"{out}/axes", [2, 3], "int64"))
    else:
        attrs["axes"] = [2, 3]
    if keep:
        return lifting.write(node, inputs, attrs)
    lifting.draft.nodes.append(Node(node.name, node.op, tuple(inputs), (out,), attrs))
    return True


def _transpose(lifting: _Lifting, node: Node) -> bool:
    """Move the height along in front of the length: [N, C, L] to [N, L, C] is an image with its channels put last."""
    out = node.outputs[0]
    perm = [place for axis in node.attrs["perm"] for place in ((2, 3) if axis == 2 else (axis,))]
    moved = lifting.draft.transpose(lifting.image(node.inputs[0]), f"{out}/image", perm)
    lifting.draft.reshape(moved, out, lifting.graph.shapes[out])
    return True


_FOLLOWERS: Mapping[str, Callable[[_Lifting, Node], bool]] = {
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    "Concat": _concat,
    "Pad": _pad,
    "Slice": _slice,
    "Softmax": _along,
    "Split": _along,
    "Transpose": _transpose,
}
