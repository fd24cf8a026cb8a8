"""``prepare``: rewrites that say in operators with integer kernels what onnxruntime has none for. Called by ``emit``.

- A mean over the whole image is ``GlobalAveragePool``, a maximum over it ``ReduceMax``.
- ``HardSwish`` is its definition, ``Mul(x, HardSigmoid(x))`` (ONNX operator HardSwish).
- ``DepthToSpace`` and ``SpaceToDepth`` are ``Reshape``, ``Transpose``, ``Reshape`` (ONNX operator DepthToSpace): they only move.
- A ``ConvTranspose`` whose windows do not overlap is a ``Conv`` with an output per pixel of the window, and ``DepthToSpace``.
- A gain and a shift per channel in front of a convolution, as BatchNormalization leaves them, are a depthwise ``Conv``: one
  scale per channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.draft import Draft
from edgekit.graph import Array, Graph, Node
from edgekit.pattern import reduced_axes, sole_reader

__all__ = ["prepare", "prepare_fused"]

_CLAMPS = frozenset({"Clip", "Relu"})
# Of ReduceMax (ONNX operator changelog).
_AXES_ARE_INPUTS = 18


def prepare(graph: Graph) -> Graph:
    """Apply all rewrites; node names and the names of tensors stay."""
    draft = Draft(graph)
    merged: set[str] = set()
    for node in graph.nodes:
        if node.name in merged:
            continue
        x, out = (node.inputs[0] if node.inputs else ""), node.outputs[0]
        if node.op == "ReduceMean" and _is_over_image(graph, node):
            _mean(draft, node)
        elif node.op == "GlobalMaxPool":
            _maximum(draft, node)
        elif node.op == "HardSwish":
            _hard_swish(draft, node)
        elif node.op == "DepthToSpace":
            by_columns = node.attrs.get("mode", "DCR") == "CRD"
            _depth_to_space(draft, x, out, int(node.attrs["blocksize"]), by_columns=by_columns, name=node.name)
        elif node.op == "SpaceToDepth":
            _space_to_depth(draft, node)
        elif node.op == "ConvTranspose" and _does_not_overlap(graph, node):
            _transposed(draft, node)
        elif node.op in ("Add", "Mul") and (affine := _affine(graph, node)):
            merged.update(step.name for step in affine.steps)
            _depthwise(draft, affine)
        else:
            draft.nodes.append(node)
    return draft.finish()


def prepare_fused(graph: Graph) -> Graph:
    """Spell HardSwish out, for TensorRT: the parser has it in 9.2, and not in 8.4 (onnx-tensorrt, docs/operators.md)."""
    draft = Draft(graph)
    for node in graph.nodes:
        if node.op == "HardSwish":
            _hard_swish(draft, node)
        else:
            draft.nodes.append(node)
    return draft.finish()


def _hard_swish(draft: Draft, node: Node) -> None:
    x, out = node.inputs[0], node.outputs[0]
    gate = draft.add("HardSigmoid", (x,), f"{out}/gate", draft.source.shapes[x], alpha=1.0 / 6.0, beta=0.5)
    draft.add("Mul", (x, gate), out, name=node.name)


def _is_over_image(graph: Graph, node: Node) -> bool:
    return len(graph.shapes[node.inputs[0]]) == 4 and reduced_axes(graph, node) == (2, 3)


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


def _depth_to_space(draft: Draft, x: str, out: str, size: int, *, by_columns: bool, name: str = "") -> None:
    batch, channels, height, width = draft.shapes[x]
    inner: Sequence[int] = (batch, size, size, channels // size**2, height, width)
    perm: Sequence[int] = (0, 3, 4, 1, 5, 2)
    if by_columns:
        inner, perm = (batch, channels // size**2, size, size, height, width), (0, 1, 4, 2, 5, 3)
    _moved(draft, x, out, inner, perm, name)


def _space_to_depth(draft: Draft, node: Node) -> None:
    x, size = node.inputs[0], int(node.attrs["blocksize"])
    batch, channels, height, width = draft.source.shapes[x]
    inner = (batch, channels, height // size, size, width // size, size)
    _moved(draft, x, node.outputs[0], inner, (0, 3, 5, 1, 2, 4), node.name)


def _moved(draft: Draft, x: str, out: str, inner: Sequence[int], perm: Sequence[int], name: str) -> None:
    split = draft.reshape(x, f"{out}/split", inner)
    turned = draft.transpose(split, f"{out}/turned", perm)
    shape = draft.constant(f"{out}/shape", draft.source.shapes[out], "int64")
    draft.add("Reshape", (turned, shape), out, name=name)


def _does_not_overlap(graph: Graph, node: Node) -> bool:
    weight = graph.weights.get(node.inputs[1])
    if weight is None or weight.ndim != 4 or node.attrs.get("group", 1) != 1:
        return False
    kernel, strides, dilations = list(weight.shape[2:]), list(node.attrs.get("strides", (1, 1))), node.attrs.get("dilations", (1,))
    is_cropped = any(any(node.attrs.get(key, ())) for key in ("pads", "output_padding"))
    return kernel[0] == kernel[1] and strides == kernel and set(dilations) == {1} and not is_cropped


def _transposed(draft: Draft, node: Node) -> None:
    """ONNX operator ConvTranspose holds [in, out, height, width]; each pixel of the window is an output channel here."""
    x, out = node.inputs[0], node.outputs[0]
    weight = draft.source.weights[node.inputs[1]]
    size = weight.shape[2]
    matrix = weight.transpose(1, 2, 3, 0).reshape(-1, weight.shape[0], 1, 1)
    inputs = [x, draft.constant(f"{out}/weight", matrix)]
    if len(node.inputs) > 2 and node.inputs[2]:
        inputs.append(draft.constant(f"{out}/bias", np.repeat(draft.source.weights[node.inputs[2]], size**2)))
    batch, _, height, width = draft.source.shapes[x]
    pixels = draft.add("Conv", inputs, f"{out}/pixels", (batch, len(matrix), height, width), name=node.name, kernel_shape=[1, 1])
    _depth_to_space(draft, pixels, out, size, by_columns=True)


@dataclass(frozen=True)
class _Affine:
    """``gain * x + shift`` per channel, as one or two nodes say it."""

    x: str
    gain: Array
    shift: Array
    steps: tuple[Node, ...]


def _affine(graph: Graph, node: Node) -> _Affine | None:
    """Return the gain and the shift that begin at a node, if a convolution reads the result."""
    found = _per_channel(graph, node)
    if found is None:
        return None
    x, value = found
    whole = _Affine(x, np.ones_like(value), value, (node,))
    if node.op == "Mul":
        whole = _Affine(x, value, np.zeros_like(value), (node,))
        after = sole_reader(graph, node.outputs[0])
        shift = _per_channel(graph, after) if after is not None and after.op == "Add" else None
        if after is not None and shift is not None:
            whole = _Affine(x, value, shift[1], (node, after))
    readers = graph.consumers.get(whole.steps[-1].outputs[0], ())
    behind = [after for reader in readers for after in (graph.consumers.get(reader.outputs[0], ()) if reader.op in _CLAMPS else (reader,))]
    return whole if any(reader.op == "Conv" for reader in behind) else None


def _per_channel(graph: Graph, node: Node) -> tuple[str, Array] | None:
    """Return the image and the constant per channel that a Mul or Add takes."""
    for x, other in (node.inputs, node.inputs[::-1]):
        shape, constant = graph.shapes[x], graph.weights.get(other)
        if constant is None or x in graph.weights or len(shape) != 4 or graph.shapes[node.outputs[0]] != shape:
            continue
        if (1,) * (4 - constant.ndim) + constant.shape in ((1, shape[1], 1, 1), (1, 1, 1, 1)):
            return x, np.broadcast_to(constant.reshape(-1), (shape[1],))
    return None


def _depthwise(draft: Draft, affine: _Affine) -> None:
    out, channels = affine.steps[-1].outputs[0], len(affine.gain)
    weight = draft.constant(f"{out}/gain", affine.gain.reshape(channels, 1, 1, 1))
    inputs = (affine.x, weight, draft.constant(f"{out}/shift", affine.shift))
    draft.add("Conv", inputs, out, name=affine.steps[-1].name, group=channels, kernel_shape=[1, 1])
