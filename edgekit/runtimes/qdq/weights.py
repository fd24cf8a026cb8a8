"""Integers for weights and biases, from the plan's scales. Called by ``stored`` and ``fused``."""

from __future__ import annotations

import numpy as np

from edgekit.errors import BuildError
from edgekit.graph import Array, Graph, Node
from edgekit.plan import INT8_MAX
from edgekit.runtimes.qdq.emission import Emission

__all__ = ["is_embedding", "lookup", "table", "weight", "weight_and_bias"]

# Half of int32 for the bias, the other half for what is accumulated onto it.
_BIAS_MAX = 1 << 30

_FLOAT = 1  # onnx.TensorProto.FLOAT


def weight(e: Emission, node: Node) -> str:
    """Write the constant a node multiplies by as int8 with its DequantizeLinear; return the real values."""
    scales, axis = _scales(e, node)
    return _weight(e, node, e.steps(scales), axis)


def weight_and_bias(e: Emission, node: Node) -> list[str]:
    """Write a node's weight as int8 and its bias as int32, each with its DequantizeLinear; return the real values.

    The bias has the scale (input x weight) and zero point 0, so that a kernel adds it to its sums of integers
    (ONNX operator QLinearConv, input B). A channel so small that its bias would leave int32 gets a wider scale.
    """
    scales, axis = _scales(e, node)
    name = node.inputs[2] if len(node.inputs) > 2 else ""
    if not name:
        return [_weight(e, node, scales.astype(np.float32), axis)]
    source = e.params[node.inputs[0]].scale
    bias = e.graph.weights[name].astype(np.float64)
    least = np.maximum(np.abs(bias) / _BIAS_MAX, np.finfo(np.float32).tiny) / source
    wide = np.maximum(scales, least.max() if axis is None else least).astype(np.float32)
    steps = (source * wide.astype(np.float64)).astype(np.float32)
    q = np.rint(bias / steps.astype(np.float64)).astype(np.int32)
    real = _dequantized(e, f"{node.name}/bias", q, steps, None if axis is None else 0)
    return [_weight(e, node, wide, axis), real]


def is_embedding(graph: Graph, node: Node) -> bool:
    """Tell whether a node looks rows up in a constant table."""
    table = graph.weights.get(node.inputs[0]) if node.op == "Gather" else None
    return table is not None and table.dtype == np.float32 and table.ndim == 2 and int(node.attrs.get("axis", 0)) == 0


def table(e: Emission, node: Node) -> str:
    """Write the table of an embedding as int8 with its DequantizeLinear; return the real values."""
    q, scales = _rows(e, node)
    return _dequantized(e, f"{node.name}/table", q, scales, 0)


def lookup(e: Emission, node: Node) -> None:
    """Write an embedding that gathers int8 rows and their scales, and multiplies.

    Behind a DequantizeLinear onnxruntime would expand the whole table in every run.
    """
    q, scales = _rows(e, node)
    ids, out = node.inputs[1], node.outputs[0]
    shape = e.graph.shapes[out]
    rows = (e.constant(f"{node.name}/table/int8", q), ids)
    steps = (e.constant(f"{node.name}/table/scale", scales.reshape(-1, 1)), ids)
    integers = e.node("Gather", rows, e.tensor(f"{out}/rows", shape, "int8"), axis=0)
    step = e.node("Gather", steps, e.tensor(f"{out}/row_scales", (*shape[:-1], 1), "float32"), axis=0)
    whole = e.node("Cast", (integers,), e.tensor(f"{out}/whole_rows", shape, "float32"), to=_FLOAT)
    e.node("Mul", (whole, step), e.exact(out))


def _rows(e: Emission, node: Node) -> tuple[Array, Array]:
    """Return the integers of an embedding's table and the scale of each row.

    Words that are rare, or pad, have rows far smaller or larger than the rest.
    """
    values = e.graph.weights[node.inputs[0]].astype(np.float64)
    largest = np.abs(values).max(axis=1)
    scales = e.steps(np.where(largest > np.finfo(np.float32).tiny * INT8_MAX, largest / INT8_MAX, 1.0))
    steps = scales.astype(np.float64)[:, np.newaxis]
    return np.clip(np.rint(values / steps), -INT8_MAX, INT8_MAX).astype(np.int8), scales


def _scales(e: Emission, node: Node) -> tuple[Array, int | None]:
    """Return a weight's scales, none dimension for the whole tensor or one for its ``axis``."""
    chosen = e.plan.weights.get(node.inputs[1])
    if chosen is None:
        raise BuildError(
            f"the plan has no scales for the weight {node.inputs[1]!r} of node {node.name!r}",
            fix="calibrate this model again: the plan is of another graph",
        )
    scales = np.asarray(chosen.scales, np.float64)
    return (scales.reshape(()), None) if chosen.axis is None else (scales, chosen.axis)


def _weight(e: Emission, node: Node, scales: Array, axis: int | None) -> str:
    values = e.graph.weights[node.inputs[1]].astype(np.float64)
    steps = scales.astype(np.float64)
    if axis is not None:
        steps = steps.reshape([-1 if one == axis else 1 for one in range(values.ndim)])
    q = np.clip(np.rint(values / steps), -INT8_MAX, INT8_MAX).astype(np.int8)
    return _dequantized(e, f"{node.name}/weight", q, scales, axis)


def _dequantized(e: Emission, name: str, q: Array, scales: Array, axis: int | None) -> str:
    """Write integers, their scales and the DequantizeLinear; return its output."""
    inputs = [e.constant(f"{name}/{q.dtype.name}", q), e.constant(f"{name}/scale", scales)]
    if q.dtype == np.int8:
        # The operator has 0 by default; onnxruntime's fusions and TensorRT's parser want to see it.
        inputs.append(e.constant(f"{name}/zero_point", np.zeros(scales.shape, np.int8)))
    real = e.tensor(f"{name}/real", q.shape, "float32")
    return e.node("DequantizeLinear", inputs, real, **({} if axis is None else {"axis": axis}))
