"""``dense_layers``: products with a constant matrix become Gemm over two dimensions, with everything linear behind them inside.

Exporters write a linear layer as Gemm, or as MatMul and Add over three dimensions; recovery and emitters see one
form. Used by ``rewrite``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgekit.draft import Draft
from edgekit.graph import Array, Graph, Node
from edgekit.pattern import sole_reader

__all__ = ["dense_layers"]


@dataclass(frozen=True)
class _Layer:
    """A linear layer as found: its matrix [in, out], its bias, and the tensor that it makes with all of it."""

    weight: Array
    bias: Array | None
    result: str
    merged: tuple[str, ...] = ()


def dense_layers(graph: Graph) -> Graph:
    """Turn every product with a constant matrix, and Add, Sub, Mul, Div by constants per column behind it, into a Gemm."""
    graph = _upright(graph)
    draft = Draft(graph)
    merged: set[str] = set()
    as_rows: dict[str, str] = {}
    for node in graph.nodes:
        layer = _bare(graph, node) if node.name not in merged else None
        whole = _with_affine(graph, layer) if layer is not None else None
        if layer is None or whole is None or (node.op == "Gemm" and whole is layer):
            draft.nodes += [node] if node.name not in merged else []
            continue
        merged.update(whole.merged)
        x, out = node.inputs[0], whole.result
        leading, (depth, width) = graph.shapes[x][:-1], whole.weight.shape
        rows = int(np.prod(leading))
        if x not in as_rows:
            as_rows[x] = x if len(leading) == 1 else draft.reshape(x, f"{x}/rows", (rows, depth))
        matrix = node.inputs[1] if whole.weight is graph.weights[node.inputs[1]] else draft.constant(f"{out}/matrix", whole.weight)
        inputs = [as_rows[x], matrix] if whole.bias is None else [as_rows[x], matrix, draft.constant(f"{out}/bias", whole.bias)]
        flat = graph.shapes[out] == (rows, width)
        made = draft.add("Gemm", inputs, out if flat else f"{out}/product", (rows, width), name=node.name)
        if not flat:
            draft.reshape(made, out, graph.shapes[out])
    return draft.finish()


def _upright(graph: Graph) -> Graph:
    """Take transpositions out of a Gemm again that onnxruntime put there: of its input, or of its result (w x = (x' w')')."""
    draft = Draft(graph)
    for node in graph.nodes:
        alone = node.op == "Gemm" and len([name for name in node.inputs if name]) == 2
        if alone and node.inputs[0] in graph.weights and node.inputs[1] not in graph.weights:
            (matrix, x), out = node.inputs, node.outputs[0]
            rows = x if node.attrs.get("transB", 0) else draft.transpose(x, f"{out}/turned", (1, 0))
            values = graph.weights[matrix] if node.attrs.get("transA", 0) else graph.weights[matrix].T
            shape = graph.shapes[out][::-1]
            weight = draft.constant(f"{out}/matrix", values * float(node.attrs.get("alpha", 1.0)))
            draft.transpose(draft.add("Gemm", (rows, weight), f"{out}/product", shape, name=node.name), out, (1, 0))
            continue
        if node.op == "Gemm" and node.attrs.get("transA", 0) and node.inputs[0] not in graph.weights:
            turned = draft.transpose(node.inputs[0], f"{node.outputs[0]}/turned", (1, 0))
            node = replace(node, inputs=(turned, *node.inputs[1:]), attrs={**node.attrs, "transA": 0})
        draft.nodes.append(node)
    return draft.finish()


def _bare(graph: Graph, node: Node) -> _Layer | None:
    """Read a MatMul or Gemm of a computed tensor by a constant matrix."""
    if node.op not in ("Gemm", "MatMul") or node.inputs[0] in graph.weights or node.attrs.get("transA", 0):
        return None
    weight = graph.weights.get(node.inputs[1])
    bias = graph.weights.get(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    if weight is None or weight.ndim != 2 or (len(node.inputs) > 2 and node.inputs[2] and bias is None):
        return None
    if node.op == "Gemm":
        alpha, beta = float(node.attrs.get("alpha", 1.0)), float(node.attrs.get("beta", 1.0))
        weight = weight.T if node.attrs.get("transB", 0) else weight
        weight = weight if alpha == 1.0 else weight * alpha
        if bias is not None:
            if bias.size not in (1, weight.shape[1]) or (bias.ndim == 2 and bias.shape[0] != 1):
                return None
            bias = np.broadcast_to(bias.reshape(-1).astype(np.float64) * beta, (weight.shape[1],))
    return _Layer(weight, bias, node.outputs[0])


def _with_affine(graph: Graph, layer: _Layer) -> _Layer:
    """Take in the affine steps per column that follow, behind a Reshape that leaves the columns alone or not."""
    width = layer.weight.shape[1]
    weight, bias, taken = layer.weight, layer.bias, layer
    tensor, merged = layer.result, list(layer.merged)
    while (reader := sole_reader(graph, tensor)) is not None and reader.op in ("Add", "Div", "Mul", "Reshape", "Sub"):
        out = reader.outputs[0]
        first = reader.inputs[0] == tensor
        merged.append(reader.name)
        if reader.op == "Reshape":
            if not first or graph.shapes[out][-1:] != (width,):
                break
            tensor = out
            continue
        value = _per_column(graph, reader.inputs[1 if first else 0], width)
        divides = reader.op == "Div"
        if value is None or graph.shapes[out] != graph.shapes[tensor] or (divides and not (first and value.all())):
            break
        before = np.zeros(width) if bias is None else bias
        if reader.op in ("Mul", "Div"):
            gain = 1.0 / value if divides else value
            weight, bias = weight * gain, None if bias is None else bias * gain
        elif reader.op == "Add":
            bias = before + value
        else:
            weight, bias = (weight, before - value) if first else (-weight, value - before)
        tensor = out
        taken = _Layer(weight, bias, out, tuple(merged))
    return taken


def _per_column(graph: Graph, name: str, width: int) -> Array | None:
    """Return a constant as one float64 value per column if it varies along the last axis alone."""
    array = graph.weights.get(name)
    if array is None or array.dtype != np.float32 or array.size not in (1, width) or (array.size > 1 and array.shape[-1] != width):
        return None
    return np.broadcast_to(array.astype(np.float64).reshape(-1), (width,))
