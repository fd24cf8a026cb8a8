"""Which scale and zero point each activation gets, once the kernels' demands are met. Called by the emitters.

A plan gives every tensor its own range. Kernels ask for more: some copy integers and so have one scale on both sides, some
write one fixed scale (LiteRT 8-bit quantization specification, "int8 quantized operator specifications").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from edgekit.errors import BuildError
from edgekit.graph import Array, Graph, Node
from edgekit.plan import INT8_MAX, INT8_MIN, QuantPlan, asymmetric_int8, symmetric_int8

__all__ = ["Params", "params_of", "resolve"]

_NOTHING_FIXED: Mapping[str, Params] = MappingProxyType({})


@dataclass(frozen=True)
class Params:
    """``real = scale * (q - zero_point)``; the scale is exactly a float32, as the file stores it."""

    scale: float
    zero_point: int

    @property
    def lo(self) -> float:
        """The least real value that int8 can say."""
        return self.scale * (INT8_MIN - self.zero_point)

    @property
    def hi(self) -> float:
        """The greatest real value that int8 can say."""
        return self.scale * (INT8_MAX - self.zero_point)


def params_of(lo: float, hi: float, *, symmetric: bool = False) -> Params:
    """Return the int8 parameters that cover lo..hi; symmetric ones have zero point 0, whatever that costs of the range."""
    scale, zero_point = (symmetric_int8(lo, hi), 0) if symmetric else asymmetric_int8(lo, hi)
    return Params(float(np.float32(scale)), zero_point)


def resolve(
    graph: Graph,
    plan: QuantPlan,
    same_scale: Collection[str],
    fixed: Mapping[str, Params] = _NOTHING_FIXED,
    symmetric: Set[str] = frozenset(),
) -> dict[str, Params]:
    """Return what int8 makes of every activation of a graph that is ready to be written.

    Tensors joined by nodes of ``same_scale`` form a group with one range, the union of theirs. A group
    fed only by nodes of ``fixed`` that write the same parameters takes these; in a mixed group the
    operator's lowering requantizes. Float nodes join nothing.

    Parameters
    ----------
    same_scale
        Names of the int8 nodes whose kernels do not rescale.
    fixed
        Names of the int8 nodes whose kernels write one scale only, and that one.
    symmetric
        Tensors that want zero point 0, where the plan's scheme does not ask it of all; a fixed scale comes first.

    Raises
    ------
    BuildError
        The plan lacks the range of a tensor.
    """
    lacking = sorted({name for name in graph.activations if name not in plan.ranges})
    if lacking:
        shown = ", ".join(repr(name) for name in lacking[:5])
        raise BuildError(
            f"the plan has no range for {len(lacking)} tensor(s): {shown}",
            fix="calibrate this model again: the plan is of another graph",
        )
    resolved: dict[str, Params] = {}
    for group in _groups(graph, same_scale):
        params = _fixed_params(graph, group, same_scale, fixed)
        if params is None:
            lo, hi = _union(graph, plan, group, same_scale)
            params = params_of(lo, hi, symmetric=plan.scheme.symmetric or not symmetric.isdisjoint(group))
        resolved.update(dict.fromkeys(group, params))
    return resolved


def _groups(graph: Graph, same_scale: Collection[str]) -> Iterable[tuple[str, ...]]:
    parent = {name: name for name in graph.activations}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for node in graph.nodes:
        if node.name in same_scale:
            joined = [name for name in (*node.inputs, *node.outputs) if name in parent]
            for name in joined[1:]:
                parent[root(name)] = root(joined[0])
    groups: dict[str, list[str]] = {}
    for name in parent:
        groups.setdefault(root(name), []).append(name)
    return [tuple(names) for names in groups.values()]


def _fixed_params(graph: Graph, group: Iterable[str], same_scale: Collection[str], fixed: Mapping[str, Params]) -> Params | None:
    """Return what all operators that feed the group write, if that is one fixed choice."""
    makers = [graph.producers.get(name) for name in group]
    feeds = {fixed.get(node.name) if node else None for node in makers if node is None or node.name not in same_scale}
    return feeds.pop() if len(feeds) == 1 else None


def _union(graph: Graph, plan: QuantPlan, group: tuple[str, ...], same_scale: Collection[str]) -> tuple[float, float]:
    lows = [plan.ranges[name].lo for name in group]
    highs = [plan.ranges[name].hi for name in group]
    for node in (graph.producers.get(name) for name in group):
        if node and node.name in same_scale:
            for value in _constants(graph, node):
                lows.append(float(value.min()))
                highs.append(float(value.max()))
    return min(lows), max(highs)


def _constants(graph: Graph, node: Node) -> Iterable[Array]:
    """Yield the finite float constants an operator of one scale mixes in: members of a Concat, the value of a Pad."""
    mixed = node.inputs if node.op == "Concat" else node.inputs[2:3] if node.op == "Pad" else ()
    for name in mixed:
        value = graph.weights.get(name)
        if value is not None and value.size and np.isfinite(value).all():
            yield value
