"""Q/DQ where every int8 node writes its result as integers: what onnxruntime's CPU kernels fuse. Called by ``emit``.

onnxruntime turns DequantizeLinear -> operator -> QuantizeLinear into one integer kernel, and only the whole of it, with
an int8 weight and an int32 bias behind a DequantizeLinear too (onnxruntime, core/optimizer/qdq_transformer/
selectors_actions/qdq_selectors.cc). What only moves or clamps is written on the integers, so that no optimiser has to find it out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgekit.graph import Graph, Node
from edgekit.plan import Precision
from edgekit.runtimes.qdq.emission import Emission
from edgekit.runtimes.qdq.precision import CLAMPS, EXACT
from edgekit.runtimes.qdq.support import followers
from edgekit.runtimes.qdq.weights import is_embedding, lookup, weight, weight_and_bias

__all__ = ["folded_clamps", "place"]

# onnxruntime quantizes the float weights of these by itself, per tensor, where they stand between a DequantizeLinear of one scale and
# a QuantizeLinear (core/optimizer/qdq_transformer/weight_bias_quantization.cc); and it moves such a DequantizeLinear behind the
# movers among these first (qdq_propagation.cc). One of many scales it leaves alone.
_SPARED = frozenset({"Conv", "ConvTranspose", "Gemm", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})

# Half a step, with room for the arithmetic's own rounding: what rounding the zero point may add.
_HALF_STEP = 0.501

_PAD_VALUE = 2  # slot of that input


def folded_clamps(graph: Graph, chosen: Mapping[str, Precision]) -> dict[str, Node]:
    """Map int8 nodes that compute to the clamp that alone reads their result: the rounding behind it does both."""
    outputs = {spec.name for spec in graph.outputs}
    moving = followers(graph)
    folded = {}
    for node in graph.nodes:
        readers = graph.consumers.get(node.outputs[0], ())
        if chosen[node.name] != "int8" or node.name in moving or node.outputs[0] in outputs or len(readers) != 1:
            continue
        clamp = readers[0]
        if clamp.op not in CLAMPS or chosen[clamp.name] != "int8":
            continue
        if node.op not in EXACT or _read_as_integers(graph, clamp.outputs[0], chosen):
            folded[node.name] = clamp
    return folded


def place(e: Emission, chosen: Mapping[str, Precision], folded: Mapping[str, Node]) -> None:
    """Write every node of the graph.

    Parameters
    ----------
    chosen
        Precision of each node.
    folded
        See ``folded_clamps``.
    """
    gone = {clamp.name for clamp in folded.values()}
    for node in e.graph.nodes:
        if node.name in gone:
            continue
        if chosen[node.name] != "int8" or not e.is_activation(node.outputs[0]):
            _in_float(e, node)
        elif is_embedding(e.graph, node):
            lookup(e, node)
        elif node.op in CLAMPS:
            _clip(e, e.integers(node.inputs[0]), node.outputs[0], _bounds(e.graph, node))
        elif node.name in followers(e.graph):
            _move(e, node)
        else:
            _compute(e, node, folded.get(node.name), chosen)


def _read_as_integers(graph: Graph, name: str, chosen: Mapping[str, Precision]) -> bool:
    return any(chosen[reader.name] == "int8" for reader in graph.consumers.get(name, ()))


def _bounds(graph: Graph, clamp: Node | None) -> tuple[float, float]:
    """Return what a Relu or Clip lets through; no node lets everything through."""
    if clamp is None:
        return -np.inf, np.inf
    if clamp.op == "Relu":
        return 0.0, np.inf
    lo, hi = (float(graph.weights[name]) for name in clamp.inputs[1:])
    return lo, hi


def _in_float(e: Emission, node: Node) -> None:
    inputs = [e.real(name) for name in node.inputs]
    if node.op in _SPARED and e.is_stored(node.inputs[0]):
        inputs[0] = _with_many_scales(e, node.inputs[0])
    e.keep(node, inputs, [e.exact(name) for name in node.outputs])


def _with_many_scales(e: Emission, name: str) -> str:
    """Return the real values of a tensor's integers by one scale per index of its longest axis, all the same."""
    shape = e.graph.shapes[name]
    axis = int(np.argmax(shape))
    scale = e.constant(f"{name}/scales", np.full(shape[axis], e.params[name].scale, np.float32))
    zero_point = e.constant(f"{name}/zero_points", np.repeat(e.stored_constant(np.zeros(1), name), shape[axis]))
    return e.node("DequantizeLinear", (e.integers(name), scale, zero_point), e.beside(name, "per_axis", "float32"), axis=axis)


def _move(e: Emission, node: Node) -> None:
    """Write a node that copies integers."""
    like = node.outputs[0]
    inputs = []
    for slot, name in enumerate(node.inputs):
        mixed_in = name in e.graph.weights and (node.op == "Concat" or (node.op == "Pad" and slot == _PAD_VALUE))
        if mixed_in:
            name = e.constant(f"{node.name}/{slot}", e.stored_constant(e.graph.weights[name], like))
        inputs.append(e.integers(name) if e.is_activation(name) else name)
    if node.op == "Pad" and (len(inputs) <= _PAD_VALUE or not inputs[_PAD_VALUE]):
        zero = e.constant(f"{node.name}/zero", e.stored_constant(np.zeros(()), like))
        inputs = [*inputs[:_PAD_VALUE], zero, *inputs[_PAD_VALUE + 1 :]]
    e.keep(node, inputs, [e.stored(name) for name in node.outputs])


def _clip(e: Emission, integers: str, target: str, bounds: tuple[float, float]) -> None:
    ends = zip(("lo", "hi"), bounds, strict=True)
    limits = [e.constant(f"{target}/{end}", e.stored_constant(np.array(value), target)) for end, value in ends]
    e.node("Clip", (integers, *limits), e.stored(target))


def _compute(e: Emission, node: Node, clamp: Node | None, chosen: Mapping[str, Precision]) -> None:
    target = clamp.outputs[0] if clamp else node.outputs[0]
    if node.op in EXACT and not _read_as_integers(e.graph, target, chosen):
        e.keep(node, _operands(e, node), [e.exact(target)])
        return
    result = e.beside(target, "exact", "float32")
    bounds = _bounds(e.graph, clamp)
    if node.op == "HardSigmoid":
        _hard_sigmoid(e, node, result)
        bounds = max(bounds[0], 0.0), min(bounds[1], 1.0)
    else:
        e.keep(node, _operands(e, node), [result])
    params = e.params[target]
    slack = _HALF_STEP * params.scale
    if params.lo >= bounds[0] - slack and params.hi <= bounds[1] + slack:
        e.store(result, target)
    else:
        q = e.node("QuantizeLinear", (result, *e.scales(target)), e.beside(target, "unclamped", e.integer))
        _clip(e, q, target, bounds)


def _operands(e: Emission, node: Node) -> list[str]:
    source = e.rounded(node.inputs[0])
    if node.op in ("Conv", "Gemm"):
        return [source, *weight_and_bias(e, node)]
    if node.op == "MatMul" and node.inputs[1] in e.graph.weights:
        return [source, weight(e, node)]
    return [source, *(e.rounded(name) for name in node.inputs[1:])]


def _hard_sigmoid(e: Emission, node: Node, result: str) -> None:
    """Write alpha x + beta as a sum: the integers of x with another scale are alpha x. Its clamp is the caller's.

    onnxruntime has an integer kernel for a sum, and none for HardSigmoid.
    """
    x = node.inputs[0]
    scale = e.constant(f"{result}/scale", np.array(node.attrs.get("alpha", 0.2) * e.params[x].scale, np.float32))
    sloped = e.node("DequantizeLinear", (e.integers(x), scale, e.scales(x)[1]), e.tensor(f"{result}/sloped", e.graph.shapes[x], "float32"))
    beta = float(node.attrs.get("beta", 0.5))
    constant = e.constant(f"{result}/beta/int8", np.array(1, e.integer))
    inputs = (
        constant,
        e.constant(f"{result}/beta/scale", np.array(beta, np.float32)),
        e.constant(f"{result}/beta/zero_point", np.array(0, e.integer)),
    )
    shift = e.node("DequantizeLinear", inputs, e.tensor(f"{result}/beta", (), "float32"))
    e.node("Add", (sloped, shift), result)
