"""``half``: a graph's float32 becomes float16, said in the file itself, for a network whose types are the file's. Called by ``emit``.

TensorRT 11 knows no other (release notes, 11.0: weakly typed networks are gone). Inputs and outputs stay as they are. A
cast stands where two types meet, one per tensor however many read it:

- what only moves or clamps values is float32 in front of a node that is, so that no value passes through float16 on its way
- what gives whole numbers or truth values, as a ``QuantizeLinear`` does, reads a tensor in the type that this has
- a ``DequantizeLinear`` and a ``Cast`` of whole numbers give at once what their readers want, twice where these differ
- an input that the ONNX standard does not let be float16, such as the scales of a ``Resize``, is float32

Constants are cut off at float16's largest number, as TensorRT does. Which nodes may not be float16 says
``edgekit.quantize.half``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache
from typing import Literal

import numpy as np
from onnx import TensorProto, defs

from edgekit.graph import Array, Graph, Node
from edgekit.runtimes.qdq.precision import CLAMPS
from edgekit.runtimes.qdq.support import MOVES

__all__ = ["OPSET", "half"]

OPSET = 20
"""The first set with ``Gelu``; float16 scales of ``QuantizeLinear`` came with 19 (ONNX operator changelog)."""

Real = Literal["float16", "float32"]

_MAX = float(np.finfo(np.float16).max)
_KINDS = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT}
# Their axes became an input in set 18 (ONNX operator changelog).
_REDUCTIONS = frozenset(
    ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSumSquare")
)
# Their names of set 16 and of set 20 (ONNX operator GridSample).
_SAMPLING = {"bilinear": "linear", "bicubic": "cubic"}


def half(graph: Graph, float32_nodes: Collection[str], *, rounds_float32: bool = False) -> Graph:
    """Return the graph in float16, of operator set 20 or newer.

    Parameters
    ----------
    float32_nodes
        Names of the nodes that stay in float32.
    rounds_float32
        A ``QuantizeLinear`` reads float32, behind a cast.
    """
    raised = _raised(graph)
    rounding = {node.name for node in raised.nodes if node.op == "QuantizeLinear"} if rounds_float32 else set()
    return _Typing(raised, rounding.union(float32_nodes)).result()


def _raised(graph: Graph) -> Graph:
    """Say in operator set 20 what the older ones said otherwise; `edgekit.quantize.normalise` lets little of it be left."""
    if graph.opset >= OPSET:
        return graph
    weights, shapes, dtypes = dict(graph.weights), dict(graph.shapes), dict(graph.dtypes)
    nodes = []
    for node in graph.nodes:
        attrs, inputs = dict(node.attrs), node.inputs
        if graph.opset < 18 and node.op in _REDUCTIONS and attrs.get("axes"):
            axes = f"{node.outputs[0]}/axes"
            weights[axes] = np.asarray(attrs.pop("axes"), np.int64)
            shapes[axes], dtypes[axes] = weights[axes].shape, "int64"
            inputs = (*inputs, axes)
        elif node.op == "GridSample" and attrs.get("mode") in _SAMPLING:
            attrs["mode"] = _SAMPLING[attrs["mode"]]
        nodes.append(replace(node, inputs=inputs, attrs=attrs))
    return replace(graph, opset=OPSET, nodes=tuple(nodes), weights=weights, shapes=shapes, dtypes=dtypes)


class _Typing:
    """A graph on its way into float16.

    A tensor keeps its name in the type it is made in; ``t/float16`` or ``t/float32`` is the same in the other one. An output
    that is made in float16 is ``t/float16`` there, and ``t`` as the file gives it.
    """

    def __init__(self, graph: Graph, float32_nodes: Collection[str]) -> None:
        self._graph, self._kept = graph, float32_nodes
        self._nodes: list[Node] = []
        self._weights: dict[str, Array] = dict(graph.weights)
        self._shapes, self._dtypes = dict(graph.shapes), dict(graph.dtypes)
        self._outputs = {spec.name for spec in graph.outputs}
        self._asked = self._wishes()
        self._made: dict[str, Real] = {spec.name: "float32" for spec in graph.inputs if spec.dtype == "float32"}
        # What a DequantizeLinear or a Cast of whole numbers gives, made in each type once somebody reads it.
        self._pending: dict[str, Node] = {}
        self._variants: dict[tuple[str, Real], str] = {(name, "float32"): name for name in self._made}

    def result(self) -> Graph:
        """Return the graph, typed."""
        for node in self._graph.nodes:
            if self._is_maker(node):
                self._pending[node.outputs[0]] = node
            else:
                self._write(node, self._type_of(node))
        for name in sorted(self._outputs):
            if self._is_real(name):
                self._read(name, "float32")
        return self._graph.with_nodes(self._nodes, weights=self._weights, shapes=self._shapes, dtypes=self._dtypes)

    # -- which type a node has

    def _wishes(self) -> Mapping[str, set[Real]]:
        """Return the types that each tensor's readers compute in, behind whatever moves it; an output is wanted in float32."""
        asked: dict[str, set[Real]] = {name: {"float32"} for name in self._outputs}
        for node in reversed(self._graph.nodes):
            for slot, name in enumerate(node.inputs):
                wish = self._slot(node, slot, "float32" if node.name in self._kept else "float16")
                wishes: set[Real] = {wish}
                if node.op in MOVES or node.op in CLAMPS:
                    wishes = {one for out in node.outputs for one in asked.get(out, ())} or wishes
                if node.op != "QuantizeLinear":
                    asked.setdefault(name, set()).update({"float32"} if node.name in self._kept else wishes)
        return asked

    def _type_of(self, node: Node) -> Real:
        if node.name in self._kept:
            return "float32"
        sources = [name for name in node.inputs if self._is_real(name) and name not in self._weights]
        if not sources or any(self._made.get(name, "float32") != "float32" for name in sources):
            return "float16"
        if not any(map(self._is_real, node.outputs)):
            return "float32"
        hands_on = node.op in MOVES or node.op in CLAMPS
        return "float32" if hands_on and any("float32" in self._asked.get(name, ()) for name in node.outputs) else "float16"

    def _slot(self, node: Node, slot: int, wanted: Real) -> Real:
        """Return the type of a node's input: the one it has, unless the standard knows only float32 there."""
        return wanted if wanted == "float32" or _may_be_half(node.op, self._graph.opset, slot, is_output=False) else "float32"

    def _is_real(self, name: str) -> bool:
        return bool(name) and self._graph.dtypes.get(name) == "float32"

    def _is_maker(self, node: Node) -> bool:
        is_cast = node.op == "Cast" and self._is_real(node.outputs[0]) and not self._is_real(node.inputs[0])
        return node.op == "DequantizeLinear" or is_cast

    # -- writing

    def _write(self, node: Node, real: Real) -> None:
        inputs = [self._read(name, self._slot(node, slot, real)) if self._is_real(name) else name for slot, name in enumerate(node.inputs)]
        halved = any(self._dtypes[name] == "float16" for name in inputs if name)
        outputs = []
        for slot, name in enumerate(node.outputs):
            if self._is_real(name):
                made: Real = "float16" if halved and _may_be_half(node.op, self._graph.opset, slot, is_output=True) else "float32"
                self._made[name] = made
                outputs.append(self._declare(name, made, self._variant(name, made)))
            else:
                outputs.append(name)
        self._nodes.append(replace(node, inputs=tuple(inputs), outputs=tuple(outputs)))

    def _read(self, name: str, real: Real) -> str:
        """Return a tensor's name in a type, making it where it is not there."""
        if (name, real) in self._variants:
            return self._variants[name, real]
        if name in self._graph.weights:
            return self._constant(name, real)
        if name in self._pending:
            return self._make(self._pending[name], real)
        source = self._variants[name, self._made[name]]
        output = self._declare(name, real, name if name in self._outputs and real == "float32" else f"{name}/{real}")
        self._nodes.append(Node(f"{output}/cast", "Cast", (source,), (output,), {"to": _KINDS[real]}))
        return output

    def _make(self, node: Node, real: Real) -> str:
        name = node.outputs[0]
        output = self._declare(name, real, self._variant(name, real) if name in self._outputs or real == "float16" else f"{name}/{real}")
        attrs = {**node.attrs, "to": _KINDS[real]} if node.op == "Cast" else node.attrs
        inputs = [self._read(source, real) if self._is_real(source) else source for source in node.inputs]
        label = node.name if output == name else f"{node.name}/{real}"
        self._nodes.append(Node(label, node.op, tuple(inputs), (output,), attrs))
        return output

    def _constant(self, name: str, real: Real) -> str:
        if real == "float32":
            self._variants[name, real] = name
            return name
        values = self._graph.weights[name]
        output = self._declare(name, real, f"{name}/{real}")
        self._weights[output] = np.where(np.isfinite(values), np.clip(values, -_MAX, _MAX), values).astype(np.float16)
        return output

    def _variant(self, name: str, made: Real) -> str:
        return f"{name}/{made}" if name in self._outputs and made == "float16" else name

    def _declare(self, name: str, real: Real, output: str) -> str:
        self._variants[name, real] = output
        self._shapes[output], self._dtypes[output] = self._graph.shapes[name], real
        return output


@cache
def _may_be_half(op: str, opset: int, slot: int, *, is_output: bool) -> bool:
    """Tell whether the ONNX standard lets an input or output of an operator be float16; a last one may stand for many."""
    schema = defs.get_schema(op, opset)
    formal = schema.outputs if is_output else schema.inputs
    return "tensor(float16)" in formal[min(slot, len(formal) - 1)].types
