"""``gelus``: Gelu spelled out in arithmetic, by the error function or by the tanh, becomes one node.

Exporters associate its factors in every way there is, so it is recognised by what it computes: the argument of
Erf or Tanh is a known polynomial of x, and what follows is ``x / 2 + x gate / 2`` (ONNX operator Gelu; Hendrycks
and Gimpel 2016, "Gaussian Error Linear Units", section 2). Used by ``rewrite``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from edgekit.graph import Graph, Node
from edgekit.pattern import scalar, without_dead

__all__ = ["gelus"]

Polynomial = Mapping[tuple[int, int], float]
"""Coefficients by the powers of (x, gate)."""

_TANH_GAIN = math.sqrt(2.0 / math.pi)
_ARGUMENTS: Mapping[str, tuple[Polynomial, str]] = MappingProxyType(
    {
        "Erf": ({(1, 0): math.sqrt(0.5)}, "none"),
        "Tanh": ({(1, 0): _TANH_GAIN, (3, 0): 0.044715 * _TANH_GAIN}, "tanh"),
    }
)
_RESULT: Polynomial = MappingProxyType({(1, 0): 0.5, (1, 1): 0.5})

# Exporters write the constants with four digits at least.
_TOLERANCE = 1e-3
_HIGHEST_POWER = 3
_CONE_DEPTH = 6
_CHAIN = 5
_ARITHMETIC = ("Add", "Div", "Mul", "Pow")


def gelus(graph: Graph) -> Graph:
    """Replace every Gelu spelled out by a ``Gelu`` node; below opset 20 ``Graph.to_onnx`` spells it out again."""
    found: dict[str, Node] = {}
    for gate in graph.nodes:
        if gate.op in _ARGUMENTS and graph.dtypes[gate.outputs[0]] == "float32":
            match = _match(graph, gate)
            if match is not None:
                source, last = match
                found[last.name] = Node(last.name, "Gelu", (source,), last.outputs, {"approximate": _ARGUMENTS[gate.op][1]})
    return without_dead(graph.with_nodes([found.get(node.name, node) for node in graph.nodes]))


def _match(graph: Graph, gate: Node) -> tuple[str, Node] | None:
    """Return (x, the node that makes the result), if the gate is one of a Gelu."""
    wanted = _ARGUMENTS[gate.op][0]
    for x in _cone(graph, gate.inputs[0], _CONE_DEPTH):
        if _equal(_polynomial(graph, gate.inputs[0], x, ""), wanted):
            for last in _followers(graph, gate.outputs[0], _CHAIN):
                if _equal(_polynomial(graph, last.outputs[0], x, gate.outputs[0]), _RESULT):
                    return x, last
    return None


def _cone(graph: Graph, name: str, depth: int) -> Iterator[str]:
    """Yield what a tensor is computed from by arithmetic, the nearest first."""
    layer = [name]
    for _ in range(depth):
        above: list[str] = []
        for tensor in layer:
            maker = graph.producers.get(tensor)
            if maker is not None and maker.op in _ARITHMETIC:
                above += [source for source in maker.inputs if source not in graph.weights]
        layer = list(dict.fromkeys(above))
        yield from layer


def _followers(graph: Graph, name: str, steps: int) -> Iterator[Node]:
    """Yield the chain of arithmetic behind a tensor, as far as one node alone reads it."""
    for _ in range(steps):
        readers = graph.consumers.get(name, ())
        if len(readers) != 1 or readers[0].op not in ("Add", "Div", "Mul"):
            return
        yield readers[0]
        name = readers[0].outputs[0]


def _polynomial(graph: Graph, name: str, x: str, gate: str, depth: int = _CONE_DEPTH) -> Polynomial | None:
    """Return a tensor as a polynomial of x and the gate, or None where it is none of low degree."""
    if name in (x, gate):
        return {(1, 0) if name == x else (0, 1): 1.0}
    value = scalar(graph, name)
    if value is not None:
        return {(0, 0): value}
    maker = graph.producers.get(name)
    if depth == 0 or maker is None or maker.op not in _ARITHMETIC or graph.shapes[name] != graph.shapes[x]:
        return None
    left, right = (_polynomial(graph, source, x, gate, depth - 1) for source in maker.inputs)
    if left is None or right is None:
        return None
    if maker.op == "Add":
        return {power: left.get(power, 0.0) + right.get(power, 0.0) for power in {**left, **right}}
    constant = right[0, 0] if set(right) == {(0, 0)} else None
    if maker.op == "Div":
        return _product(left, {(0, 0): 1.0 / constant}) if constant else None
    if maker.op == "Pow":
        powers = {2.0: [left], 3.0: [left, left]}.get(constant or 0.0)
        return None if powers is None else _product(left, *powers)
    return _product(left, right)


def _product(first: Polynomial, *others: Polynomial) -> Polynomial | None:
    made = first
    for other in others:
        terms = [((i + k, j + m), a * b) for (i, j), a in made.items() for (k, m), b in other.items()]
        if any(i > _HIGHEST_POWER or j > 1 for (i, j), _ in terms):
            return None
        summed: dict[tuple[int, int], float] = {}
        for power, factor in terms:
            summed[power] = summed.get(power, 0.0) + factor
        made = summed
    return made


def _equal(found: Polynomial | None, wanted: Polynomial) -> bool:
    return found is not None and all(
        abs(found.get(power, 0.0) - wanted.get(power, 0.0)) <= _TOLERANCE * wanted.get(power, 0.01) for power in {**found, **wanted}
    )
