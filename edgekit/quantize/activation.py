"""Rewrites of activation functions spelled out in arithmetic: clips, hard-sigmoid, hard-swish.

Used by ``rewrite``.
"""

from __future__ import annotations

import numpy as np

from edgekit.graph import Graph, Node
from edgekit.pattern import each, inner, scalar, with_scalar

__all__ = ["clips", "hard_sigmoids", "hard_swishes", "late_hard_swishes"]

_FLOAT32 = np.finfo(np.float32)


def clips(graph: Graph) -> Graph:
    """Every Clip with constant bounds states both; one at zero from below alone is a Relu."""
    weights = dict(graph.weights)
    shapes, dtypes = dict(graph.shapes), dict(graph.dtypes)
    nodes = []
    for node in graph.nodes:
        bounds = _bounds(graph, node)
        if bounds is not None:
            lo, hi = bounds
            if lo == 0.0 and hi >= _FLOAT32.max:
                node = Node(node.name, "Relu", node.inputs[:1], node.outputs)
            else:
                names = (f"{node.outputs[0]}/lo", f"{node.outputs[0]}/hi")
                for name, value in zip(names, (lo, hi), strict=True):
                    weights[name] = np.array(value, dtype=np.float32)
                    shapes[name], dtypes[name] = (), "float32"
                node = Node(node.name, "Clip", (node.inputs[0], *names), node.outputs)
        nodes.append(node)
    return graph.with_nodes(nodes, weights=weights, shapes=shapes, dtypes=dtypes)


def _bounds(graph: Graph, node: Node) -> tuple[float, float] | None:
    """Return the bounds of a float Clip, or None where it is none or they are computed."""
    if node.op != "Clip" or graph.dtypes[node.inputs[0]] != "float32":
        return None
    found = [float(_FLOAT32.min), float(_FLOAT32.max)]
    for side, name in enumerate(node.inputs[1:3]):
        if name:
            value = scalar(graph, name)
            if value is None:
                return None
            found[side] = max(float(_FLOAT32.min), min(float(_FLOAT32.max), value))
    return found[0], found[1]


def _sixth(graph: Graph, node: Node) -> str | None:
    """Return ``x`` if the node computes x / 6."""
    found = with_scalar(graph, node) if node.op in ("Div", "Mul") else None
    if found is None:
        return None
    factor = 1.0 / found[1] if node.op == "Div" and found[1] != 0.0 else found[1]
    return found[0] if abs(factor * 6.0 - 1.0) < 1e-5 else None


def _relu6_of_x_plus_3(graph: Graph, name: str) -> str | None:
    """Return ``x`` if the tensor is Clip(x + 3, 0, 6) and only read once."""
    clip = inner(graph, name, "Clip")
    if clip is None or _bounds(graph, clip) != (0.0, 6.0):
        return None
    add = inner(graph, clip.inputs[0], "Add")
    found = with_scalar(graph, add) if add is not None else None
    return found[0] if found is not None and found[1] == 3.0 else None


def hard_sigmoids(graph: Graph) -> Graph:
    """Clip(x + 3, 0, 6) / 6 -> HardSigmoid (ONNX operator HardSigmoid, alpha 1/6, beta 1/2)."""

    def match(graph: Graph, node: Node) -> Node | None:
        clipped = _sixth(graph, node)
        x = _relu6_of_x_plus_3(graph, clipped) if clipped is not None else None
        return None if x is None else Node(node.name, "HardSigmoid", (x,), node.outputs, {"alpha": 1.0 / 6.0, "beta": 0.5})

    return each(graph, match)


def hard_swishes(graph: Graph) -> Graph:
    """Mul(x, HardSigmoid(x)) -> HardSwish, which ONNX defines so (operator HardSwish, opset 14)."""

    def match(graph: Graph, node: Node) -> Node | None:
        if node.op != "Mul":
            return None
        for x, other in (node.inputs, node.inputs[::-1]):
            gate = inner(graph, other, "HardSigmoid")
            if gate is not None and gate.inputs[0] == x:
                alpha, beta = gate.attrs.get("alpha", 0.2), gate.attrs.get("beta", 0.5)
                if abs(alpha * 6.0 - 1.0) < 1e-5 and beta == 0.5:
                    return Node(node.name, "HardSwish", (x,), node.outputs)
        return None

    return each(graph, match)


def late_hard_swishes(graph: Graph) -> Graph:
    """Mul(x, Clip(x + 3, 0, 6)) / 6 -> HardSwish."""

    def match(graph: Graph, node: Node) -> Node | None:
        product = _sixth(graph, node)
        mul = inner(graph, product, "Mul") if product is not None else None
        if mul is None:
            return None
        for x, other in (mul.inputs, mul.inputs[::-1]):
            if _relu6_of_x_plus_3(graph, other) == x:
                return Node(node.name, "HardSwish", (x,), node.outputs)
        return None

    return each(graph, match)
