"""``Emission``: the ONNX file as it grows, and the words that ``stored`` and ``fused`` place roundings with.

A tensor of the graph keeps its name for what its node hands on. Beside it stand, where somebody needs them,
``t/exact``: the result before its node rounded it; ``t/int8``: its integers; ``t/rounded``: the real values of
these, where the node itself handed on exact ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from edgekit.graph import Array, Graph, Node
from edgekit.plan import INT8_MAX, INT8_MIN, QuantPlan
from edgekit.runtimes.scales import Params

__all__ = ["Emission", "Integer"]

Integer = Literal["int8", "uint8"]

# int8 -> uint8: the same numbers, 128 higher.
_UINT8_OFFSET = 128


class Emission:
    """One graph on its way into a Q/DQ file.

    Attributes
    ----------
    params
        Of every activation.
    integer
        What activations are stored as. Weights are always int8.
    """

    def __init__(
        self, graph: Graph, plan: QuantPlan, params: Mapping[str, Params], integer: Integer, *, has_half_scales: bool = False
    ) -> None:
        self.graph, self.plan, self.params, self.integer = graph, plan, params, integer
        self._has_half_scales = has_half_scales
        self._nodes: list[Node] = []
        self._constants: dict[str, Array] = {}
        self._shapes, self._dtypes = dict(graph.shapes), dict(graph.dtypes)
        self._exact = {spec.name for spec in graph.inputs}
        self._integers: dict[str, str] = {}
        self._rounded: dict[str, str] = {}

    # -- what a node reads

    def real(self, name: str) -> str:
        """Return a tensor's real values, as exact as its node handed them on. Constants are themselves."""
        return self.rounded(name) if self.is_stored(name) else name

    def integers(self, name: str) -> str:
        """Return a tensor's integers, rounding it here if its node did not."""
        if name not in self._integers:
            self._integers[name] = self.beside(name, "int8", self.integer)
            self.node("QuantizeLinear", (name, *self.scales(name)), f"{name}/int8")
        return self._integers[name]

    def rounded(self, name: str) -> str:
        """Return the real values of a tensor's integers."""
        if name not in self._rounded:
            q = self.integers(name)
            self._rounded[name] = self.beside(name, "rounded", "float32") if name in self._exact else name
            self.node("DequantizeLinear", (q, *self.scales(name)), self._rounded[name])
        return self._rounded[name]

    def is_activation(self, name: str) -> bool:
        """Tell whether a node's input is a float tensor that depends on the graph's inputs."""
        return name in self.params

    def is_stored(self, name: str) -> bool:
        """Tell whether a tensor's node hands on integers."""
        return name in self._integers and name not in self._exact

    # -- what a node writes

    def exact(self, name: str) -> str:
        """Declare that a node hands a tensor on as it computed it; return the name to write."""
        self._exact.add(name)
        return name

    def stored(self, name: str) -> str:
        """Declare that a node writes the integers of a tensor; return the name to write."""
        self._integers[name] = self.beside(name, "int8", self.integer)
        return self._integers[name]

    def store(self, source: str, name: str) -> None:
        """Round ``source`` into the integers of a tensor."""
        self.node("QuantizeLinear", (source, *self.scales(name)), self.stored(name))

    # -- what the file holds

    def node(self, op: str, inputs: Sequence[str], output: str, **attrs: Any) -> str:
        """Add a node with one output, named after it; return the output."""
        self._nodes.append(Node(f"{output}/node", op, tuple(inputs), (output,), attrs))
        return output

    def keep(self, node: Node, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Add a node of the graph, its tensors being others."""
        self._nodes.append(replace(node, inputs=tuple(inputs), outputs=tuple(outputs)))

    def tensor(self, name: str, shape: Sequence[int], dtype: str) -> str:
        """Declare a tensor; return its name."""
        self._shapes[name], self._dtypes[name] = tuple(shape), dtype
        return name

    def beside(self, name: str, suffix: str, dtype: str) -> str:
        """Declare a tensor of the shape of another and named after it; return its name."""
        return self.tensor(f"{name}/{suffix}", self.graph.shapes[name], dtype)

    def constant(self, name: str, values: Array) -> str:
        """Add a constant; return its name."""
        self._constants[name], self._shapes[name], self._dtypes[name] = values, values.shape, values.dtype.name
        return name

    def scales(self, name: str) -> tuple[str, str]:
        """Return scale and zero point of an activation."""
        scale = self.constant(f"{name}/scale", self.steps(np.array(self.params[name].scale)))
        zero_point = self.stored_constant(np.zeros(()), name)
        return scale, self.constant(f"zero_point/{zero_point}", zero_point)

    def steps(self, scales: Array) -> Array:
        """Return scales as float32 that the file can say: where it will say them in float16, the next one up, so that nothing saturates.

        Integers must be counted in these, for a small scale has few bits in float16: 2.5e-7 is 4 times its least number.
        """
        return _half_up(scales) if self._has_half_scales else scales.astype(np.float32)

    def stored_constant(self, values: Array, name: str) -> Array:
        """Return the integers that stand for real values in an activation's parameters."""
        params = self.params[name]
        q = np.clip(np.rint(values / params.scale) + params.zero_point, INT8_MIN, INT8_MAX)
        return np.asarray(q + (_UINT8_OFFSET if self.integer == "uint8" else 0), self.integer)

    def result(self) -> Graph:
        """Return what was written, a graph whose outputs are real values."""
        for spec in self.graph.outputs:
            self.real(spec.name)
        weights = {**self.graph.weights, **self._constants}
        return self.graph.with_nodes(self._nodes, weights=weights, shapes=self._shapes, dtypes=self._dtypes)


def _half_up(values: Array) -> Array:
    """Return as float32 the next numbers up that float16 has; what is beyond its largest stays."""
    end = float(np.finfo(np.float16).max)
    near = np.minimum(values, end).astype(np.float16)
    up = np.where(near.astype(np.float64) < values, np.nextafter(near, np.float16(np.inf)), near)
    return np.asarray(np.where(values > end, values, up), np.float32)
