"""Exact rewrites of a float graph into one spelling per meaning; ``normalise`` runs them.

Each is ``Graph -> Graph`` and changes values by rounding only. Tensor names of the model survive
where the tensor does; constants made here get their final names from ``normalise``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from edgekit.graph import Array, Graph, Node
from edgekit.quantize.affine import absorb_affine, lower_batch_norm

__all__ = ["rewrite"]

_FLOAT32 = np.finfo(np.float32)


def rewrite(graph: Graph) -> Graph:
    """Apply every rewrite in the order in which each finds its form."""
    for step in (_reshapes, _pass_through, absorb_affine, lower_batch_norm, _clips, _hard_sigmoids, _hard_swishes, _late_hard_swishes):
        graph = step(graph)
    return graph


def _reshapes(graph: Graph) -> Graph:
    """Flatten, Squeeze, Unsqueeze and Reshape become Reshape to an explicit, constant shape; of several in a row the last one."""
    source: dict[str, str] = {}
    weights = dict(graph.weights)
    shapes, dtypes = dict(graph.shapes), dict(graph.dtypes)
    nodes = []
    for node in graph.nodes:
        if node.op in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
            name = f"{node.outputs[0]}/shape"
            weights[name] = np.array(graph.shapes[node.outputs[0]], dtype=np.int64)
            shapes[name], dtypes[name] = weights[name].shape, "int64"
            source[node.outputs[0]] = source.get(node.inputs[0], node.inputs[0])
            node = Node(node.name, "Reshape", (source[node.outputs[0]], name), node.outputs)
        nodes.append(node)
    return _without_dead(graph.with_nodes(nodes, weights=weights, shapes=shapes, dtypes=dtypes))


def _changes_nothing(graph: Graph, node: Node) -> bool:
    before, after = node.inputs[0] if node.inputs else "", node.outputs[0]
    if node.op in ("Identity", "Dropout"):
        return not any(name in graph.consumers for name in node.outputs[1:])
    if node.op == "Cast":
        return graph.dtypes[before] == graph.dtypes[after]
    return node.op == "Reshape" and graph.shapes[before] == graph.shapes[after]


def _pass_through(graph: Graph) -> Graph:
    """Drop nodes whose output is their input."""
    outputs = {spec.name for spec in graph.outputs}
    alias: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        node = replace(node, inputs=tuple(alias.get(name, name) for name in node.inputs))
        if _changes_nothing(graph, node):
            before, after = node.inputs[0], node.outputs[0]
            if after not in outputs:
                alias[after] = before
                continue
            maker = next((i for i, made in enumerate(nodes) if before in made.outputs), None)
            if maker is not None and before not in outputs:
                # The name of a graph output is the model's interface: the maker takes it over.
                nodes[:] = [_with_names(made, {before: after}) for made in nodes]
                alias[before] = after
                alias = {name: after if target == before else target for name, target in alias.items()}
                continue
        nodes.append(node)
    return graph.with_nodes(nodes)


def _with_names(node: Node, new: Mapping[str, str]) -> Node:
    return replace(
        node,
        inputs=tuple(new.get(name, name) for name in node.inputs),
        outputs=tuple(new.get(name, name) for name in node.outputs),
    )


def _clips(graph: Graph) -> Graph:
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


def scalar(graph: Graph, name: str) -> float | None:
    """Return the value of a one-element constant, else None."""
    array: Array | None = graph.weights.get(name)
    return float(array.reshape(())) if array is not None and array.size == 1 else None


def _split(graph: Graph, node: Node) -> tuple[str, float] | None:
    """Read ``x op constant`` of a commutative node, or of Div: the tensor and the constant."""
    if len(node.inputs) != 2:
        return None
    sides = [node.inputs] if node.op == "Div" else [node.inputs, node.inputs[::-1]]
    for tensor, other in sides:
        value = scalar(graph, other)
        if value is not None and tensor not in graph.weights and graph.shapes[tensor] == graph.shapes[node.outputs[0]]:
            return tensor, value
    return None


def _inner(graph: Graph, name: str, op: str) -> Node | None:
    """Return the maker of a tensor if it is an ``op`` and nobody else reads the tensor."""
    maker = graph.producers.get(name)
    alone = len(graph.consumers.get(name, ())) == 1 and all(spec.name != name for spec in graph.outputs)
    return maker if maker is not None and maker.op == op and alone else None


def _sixth(graph: Graph, node: Node) -> str | None:
    """Return ``x`` if the node computes x / 6."""
    found = _split(graph, node) if node.op in ("Div", "Mul") else None
    if found is None:
        return None
    factor = 1.0 / found[1] if node.op == "Div" and found[1] != 0.0 else found[1]
    return found[0] if abs(factor * 6.0 - 1.0) < 1e-5 else None


def _relu6_of_x_plus_3(graph: Graph, name: str) -> str | None:
    """Return ``x`` if the tensor is Clip(x + 3, 0, 6) and only read once."""
    clip = _inner(graph, name, "Clip")
    if clip is None or _bounds(graph, clip) != (0.0, 6.0):
        return None
    add = _inner(graph, clip.inputs[0], "Add")
    found = _split(graph, add) if add is not None else None
    return found[0] if found is not None and found[1] == 3.0 else None


def _each(graph: Graph, match: Callable[[Graph, Node], Node | None]) -> Graph:
    """Replace the nodes that match; what only they needed dies with ``normalise``'s ordering."""
    swapped: Iterable[Node] = [match(graph, node) or node for node in graph.nodes]
    return _without_dead(graph.with_nodes(swapped))


def _without_dead(graph: Graph) -> Graph:
    needed = {spec.name for spec in graph.outputs}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            kept.append(node)
    return graph.with_nodes(reversed(kept))


def _hard_sigmoids(graph: Graph) -> Graph:
    """Clip(x + 3, 0, 6) / 6 -> HardSigmoid (ONNX operator HardSigmoid, alpha 1/6, beta 1/2)."""

    def match(graph: Graph, node: Node) -> Node | None:
        clipped = _sixth(graph, node)
        x = _relu6_of_x_plus_3(graph, clipped) if clipped is not None else None
        return None if x is None else Node(node.name, "HardSigmoid", (x,), node.outputs, {"alpha": 1.0 / 6.0, "beta": 0.5})

    return _each(graph, match)


def _hard_swishes(graph: Graph) -> Graph:
    """Mul(x, HardSigmoid(x)) -> HardSwish, which ONNX defines so (operator HardSwish, opset 14)."""

    def match(graph: Graph, node: Node) -> Node | None:
        if node.op != "Mul":
            return None
        for x, other in (node.inputs, node.inputs[::-1]):
            gate = _inner(graph, other, "HardSigmoid")
            if gate is not None and gate.inputs[0] == x:
                alpha, beta = gate.attrs.get("alpha", 0.2), gate.attrs.get("beta", 0.5)
                if abs(alpha * 6.0 - 1.0) < 1e-5 and beta == 0.5:
                    return Node(node.name, "HardSwish", (x,), node.outputs)
        return None

    return _each(graph, match)


def _late_hard_swishes(graph: Graph) -> Graph:
    """Mul(x, Clip(x + 3, 0, 6)) / 6 -> HardSwish."""

    def match(graph: Graph, node: Node) -> Node | None:
        product = _sixth(graph, node)
        mul = _inner(graph, product, "Mul") if product is not None else None
        if mul is None:
            return None
        for x, other in (mul.inputs, mul.inputs[::-1]):
            if _relu6_of_x_plus_3(graph, other) == x:
                return Node(node.name, "HardSwish", (x,), node.outputs)
        return None

    return _each(graph, match)
