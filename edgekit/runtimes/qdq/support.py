"""What becomes of every node: int8, or float32 and why. Called by ``emit`` for both runtimes.

A rule returns the reason for which a node is not int8, or nothing. An operator without a rule is computed in float:
onnxruntime and TensorRT run nearly all of ONNX's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from edgekit.graph import Graph, Node
from edgekit.placement import rounded_reads
from edgekit.plan import NodePrecision, QuantPlan, Scheme
from edgekit.runtimes import Support
from edgekit.runtimes.qdq.precision import CLAMPS, settle
from edgekit.runtimes.qdq.weights import is_embedding

__all__ = ["MOVES", "UNREAD", "followers", "fused_support", "stored_support"]

Rule = Callable[[Graph, Node], str]

_WHOLE = "its results are whole numbers or truth values"
_HANDS_ON = "it only hands on the values of float nodes"


def _fine(_graph: Graph, _node: Node) -> str:
    return ""


def _convolution(graph: Graph, node: Node) -> str:
    if node.inputs[1] not in graph.weights:
        return "its weight is computed"
    return "its bias is computed" if len(node.inputs) > 2 and node.inputs[2] and node.inputs[2] not in graph.weights else ""


def _gemm(graph: Graph, node: Node) -> str:
    if reason := _convolution(graph, node):
        return reason
    if node.attrs.get("transA", 0):
        return "it transposes its input (transA)"
    if (node.attrs.get("alpha", 1.0), node.attrs.get("beta", 1.0)) != (1.0, 1.0):
        return "it scales its product (alpha, beta)"
    bias = graph.weights.get(node.inputs[2]) if len(node.inputs) > 2 else None
    return "its bias is not one value per column" if bias is not None and bias.ndim != 1 else ""


def _matmul(graph: Graph, node: Node) -> str:
    if node.inputs[0] in graph.weights:
        return "its first factor is a constant"
    weight = graph.weights.get(node.inputs[1])
    return f"its constant has {weight.ndim} dimensions, not 2" if weight is not None and weight.ndim != 2 else ""


def _pair(graph: Graph, node: Node) -> str:
    is_constant = any(name in graph.weights for name in node.inputs)
    return "one of its inputs is a constant, which would get one scale for all channels" if is_constant else ""


def _clamp(graph: Graph, node: Node) -> str:
    bounds = [graph.weights.get(name) for name in node.inputs[1:]]
    known = node.op == "Relu" or (len(bounds) == 2 and all(bound is not None for bound in bounds))
    return "" if known else "its bounds are computed"


def _move(graph: Graph, node: Node) -> str:
    return "it reads a constant" if node.inputs[0] in graph.weights and node.op != "Concat" else ""


def _gather(graph: Graph, node: Node) -> str:
    return "" if is_embedding(graph, node) else _move(graph, node)


def _max_pool(_graph: Graph, node: Node) -> str:
    return "it also tells where its maxima are" if len(node.outputs) > 1 else ""


def _pad(graph: Graph, node: Node) -> str:
    value = node.inputs[2] if len(node.inputs) > 2 else ""
    return "the value it pads with is computed" if value and value not in graph.weights else _move(graph, node)


def _resize(_graph: Graph, node: Node) -> str:
    # onnxruntime's integer kernel cuts the fraction off an interpolated value, which is half a step low on average (core/providers/
    # cpu/tensor/upsample.h: static_cast).
    return "" if node.attrs.get("mode", "nearest") == "nearest" else "its integer kernel does not round what it interpolates"


def _hard_sigmoid(_graph: Graph, node: Node) -> str:
    return "" if node.attrs.get("alpha", 0.2) > 0 else "its slope is not positive"


MOVES: Mapping[str, Rule] = MappingProxyType(
    {
        **dict.fromkeys(("Expand", "ReduceMax", "ReduceMin", "Reshape", "Slice", "Split", "Tile", "Transpose"), _move),
        "Concat": _move,
        "Gather": _gather,
        "MaxPool": _max_pool,
        "Pad": _pad,
        "Resize": _resize,
    }
)
"""They copy integers, so one scale holds on both sides."""

_CLAMP_RULES = dict.fromkeys(CLAMPS, _clamp)
_PRODUCTS: Mapping[str, Rule] = MappingProxyType({"Conv": _convolution, "Gemm": _gemm, "MatMul": _matmul})
# Small next to the products: worth integers only where somebody reads integers.
_STORED_LIGHT: Mapping[str, Rule] = MappingProxyType(
    {
        "Add": _pair,
        "AveragePool": _fine,
        "GlobalAveragePool": _fine,
        "HardSigmoid": _hard_sigmoid,
        "LeakyRelu": _fine,
        "Mul": _pair,
        "Sigmoid": _fine,
    }
)
_FUSED_LIGHT: Mapping[str, Rule] = MappingProxyType({"AveragePool": _fine})


UNREAD = frozenset(
    (
        *("AffineGrid", "Bernoulli", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "CenterCropPad", "Col2Im"),
        *("Compress", "DFT", "Det", "ImageDecoder", "MaxRoiPool", "MaxUnpool", "MelWeightMatrix", "Multinomial", "Unique"),
    )
)
"""TensorRT's parser has nothing for them (onnx-tensorrt, docs/operators.md; asked of tensorrt-rtx 1.7, ``supports_operator``)."""


def followers(graph: Graph) -> frozenset[str]:
    """Return the nodes that only move or clamp values."""
    return frozenset(node.name for node in graph.nodes if (node.op in MOVES and not is_embedding(graph, node)) or node.op in CLAMPS)


def stored_support(graph: Graph) -> dict[str, Support]:
    """Say what onnxruntime's CPU kernels compute in integers."""
    rules = {**MOVES, **_CLAMP_RULES, **_PRODUCTS, **_STORED_LIGHT}
    return _support(graph, rules, _STORED_LIGHT, "onnxruntime has no integer kernel for this operator on a CPU")


def fused_support(graph: Graph) -> dict[str, Support]:
    """Say what TensorRT computes in integers, or lets integers pass through."""
    rules = {**MOVES, **_CLAMP_RULES, **_PRODUCTS, "Add": _fine, "ConvTranspose": _convolution, **_FUSED_LIGHT}
    found = _support(graph, rules, _FUSED_LIGHT, "TensorRT computes it in float, fused with its neighbours")
    reads = {name for name, _ in rounded_reads(graph, _nominal(graph, found))}
    for node in graph.nodes:
        if node.op in UNREAD:
            found[node.name] = Support(None, "TensorRT's parser does not know this operator", "export the model without it")
        if node.op == "Add" and found[node.name].precision == "int8" and node.name not in reads:
            found[node.name] = Support("float32", "no convolution is next to it, so it is a float sum fused with its neighbours")
    return found


def _support(graph: Graph, rules: Mapping[str, Rule], light: Mapping[str, Rule], otherwise: str) -> dict[str, Support]:
    found = {node.name: _judged(graph, node, rules, otherwise) for node in graph.nodes}
    moving = followers(graph)
    wanted: set[str] = set()
    for node in reversed(graph.nodes):
        read = wanted.intersection(node.outputs)
        if found[node.name].precision != "int8":
            continue
        if node.op in light and not read:
            found[node.name] = Support("float32", "nobody reads its result as integers")
        elif read or node.name not in moving:
            wanted.update(node.inputs)
    settled = settle(graph, _nominal(graph, found), moving)
    for name in moving:
        if found[name].precision == "int8" and settled[name] != "int8":
            found[name] = Support("float32", _HANDS_ON)
    return found


def _judged(graph: Graph, node: Node, rules: Mapping[str, Rule], otherwise: str) -> Support:
    if all(graph.dtypes.get(name) != "float32" for name in node.outputs if name):
        return Support("integer", _WHOLE)
    rule = rules.get(node.op)
    reason = rule(graph, node) if rule else otherwise
    return Support("float32", reason) if reason else Support("int8")


def _nominal(graph: Graph, found: Mapping[str, Support]) -> QuantPlan:
    """Return a plan that nobody calibrated, for its precisions alone."""
    kept = {name: NodePrecision("float32", one.why) for name, one in found.items() if one.precision != "int8"}
    return QuantPlan(graph_sha256="", dataset_sha256=None, samples=0, method="", ranges={}, weights={}, nodes=kept, scheme=Scheme())
