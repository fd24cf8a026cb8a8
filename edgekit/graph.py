"""``Graph``: the float network between sources and emitters, a frozen view of one ONNX graph.

Sources make it, ``quantize`` rewrites and observes it, ``runtimes`` lower it. Rewrites are plain
functions ``Graph -> Graph``; nobody changes one in place. Knows numpy and onnx, nothing above floor 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit.digest import sha256_bytes
from edgekit.errors import InputError
from edgekit.model import TensorSpec

__all__ = ["Array", "Graph", "Node", "from_onnx", "unique_names"]

Array = np.ndarray[Any, np.dtype[Any]]

_GELU_OPSET = 20
"""The first operator set with Gelu (ONNX operator changelog)."""


@dataclass(frozen=True)
class Node:
    """One ONNX operator, or a ``Gelu`` whatever the operator set. A missing optional input is the empty string.

    ``attrs`` holds Python values: int, float, str, lists of these, or a numpy array.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """A float network with static shapes.

    Attributes
    ----------
    opset
        Version of the default ONNX operator set.
    inputs, outputs
        In the model's own order; constants are not inputs.
    nodes
        In topological order, each with a unique, non-empty name.
    weights
        Constant tensors by name.
    shapes, dtypes
        Of every tensor, constants included; dtype as numpy spells it.
    """

    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    nodes: tuple[Node, ...]
    weights: Mapping[str, Array]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """The node that makes each tensor; inputs and constants have none."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each tensor, in order; a graph output nobody reads is absent."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    readers.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in readers.items()}

    @cached_property
    def activations(self) -> tuple[str, ...]:
        """Float tensors that depend on the input: the graph inputs, then node outputs in order."""
        names = [spec.name for spec in self.inputs]
        names += [name for node in self.nodes for name in node.outputs if name]
        return tuple(name for name in names if self.dtypes.get(name) == "float32")

    def to_onnx(self, extra_outputs: Iterable[str] = ()) -> onnx.ModelProto:
        """Write the graph as an ONNX model. A ``Gelu`` is spelled out where the operator set has none.

        Parameters
        ----------
        extra_outputs
            Inner tensors to expose after the graph's own outputs, for observation.
        """

        def info(name: str) -> onnx.ValueInfoProto:
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtypes[name]))
            return helper.make_tensor_value_info(name, kind, self.shapes[name])

        entries = {spec.name for spec in self.inputs}
        own = [spec.name for spec in self.outputs]
        exposed = [name for name in extra_outputs if name not in own and name not in entries]
        constants = dict(self.weights)
        nodes: list[Node] = []
        for node in self.nodes:
            nodes += _spelled_gelu(node, constants) if node.op == "Gelu" and self.opset < _GELU_OPSET else [node]
        body = helper.make_graph(
            [helper.make_node(n.op, n.inputs, n.outputs, name=n.name, **n.attrs) for n in nodes],
            "edgekit",
            [info(spec.name) for spec in self.inputs],
            [info(name) for name in [*own, *exposed]],
            [numpy_helper.from_array(np.asarray(w, order="C"), name) for name, w in constants.items()],
        )
        # IR 8 is the newest that every onnxruntime since 1.12 reads.
        return helper.make_model(body, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)

    @cached_property
    def sha256(self) -> str:
        """Digest of the deterministic serialisation: names a graph in plans and caches."""
        return sha256_bytes(self.to_onnx().SerializeToString(deterministic=True))

    def with_nodes(self, nodes: Iterable[Node], **changes: Any) -> Graph:
        """Return a copy with other nodes, constants that nobody reads any more left out."""
        kept = tuple(nodes)
        weights = changes.pop("weights", self.weights)
        read = {name for node in kept for name in node.inputs} | {spec.name for spec in self.outputs}
        alive = {name: array for name, array in weights.items() if name in read}
        return replace(self, nodes=kept, weights=alive, **changes)


def from_onnx(proto: onnx.ModelProto) -> Graph:
    """Read an ONNX model whose shapes are all static (see ``quantize.normalise``).

    ``Constant`` nodes become weights; unnamed nodes are named after their first output.

    Raises
    ------
    InputError
        A tensor has no static shape, or an operator is outside the default operator set.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise InputError(f"the shapes of the model contradict each other: {error}", fix="export the model again") from error
    body = inferred.graph
    weights: dict[str, Array] = {t.name: numpy_helper.to_array(t) for t in body.initializer}
    nodes: list[Node] = []
    for raw in body.node:
        if raw.domain not in ("", "ai.onnx"):
            raise InputError(
                f"node {raw.name or raw.output[0]!r}: operator {raw.domain}::{raw.op_type} is not a standard ONNX operator",
                fix="export the model without custom or fused operators",
            )
        attrs = {a.name: _attribute(a) for a in raw.attribute}
        if raw.op_type == "Constant":
            weights[raw.output[0]] = _constant(attrs)
            continue
        nodes.append(Node(raw.name or raw.output[0], raw.op_type, tuple(raw.input), tuple(raw.output), attrs))
    shapes = {name: tuple(array.shape) for name, array in weights.items()}
    dtypes = {name: array.dtype.name for name, array in weights.items()}
    for value in [*body.input, *body.value_info, *body.output]:
        if value.name in weights:
            continue
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            shapes[value.name] = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim)
        dtypes[value.name] = helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    live = {n for node in nodes for n in (*node.inputs, *node.outputs) if n} | {value.name for value in [*body.input, *body.output]}
    unknown = sorted(name for name in live if -1 in shapes.get(name, (-1,)))
    if unknown:
        raise InputError(
            f"the shape of tensor {unknown[0]!r} is not static",
            fix="export the model with fixed sizes (only the batch may be open)",
        )

    def spec(value: onnx.ValueInfoProto) -> TensorSpec:
        return TensorSpec(value.name, dtypes[value.name], shapes[value.name])

    opset = next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    return Graph(
        opset=opset,
        inputs=tuple(spec(v) for v in body.input if v.name not in weights),
        outputs=tuple(spec(v) for v in body.output),
        nodes=unique_names(nodes),
        weights=weights,
        shapes=shapes,
        dtypes=dtypes,
    )


def _spelled_gelu(node: Node, constants: dict[str, Array]) -> list[Node]:
    """Return the arithmetic of a Gelu, and add its constants: ONNX operator Gelu, "Function Body".

    Spelled as PyTorch exports it, which onnxruntime and TensorRT know and compute as one operator (onnxruntime,
    core/optimizer/gelu_fusion.cc: a division by the root of 2).
    """
    x, y = node.inputs[0], node.outputs[0]
    by_tanh = node.attrs.get("approximate", "none") == "tanh"
    values = {"gain": math.sqrt(2.0 / math.pi), "root": math.sqrt(2.0), "cubic": 0.044715, "one": 1.0, "half": 0.5}
    unused = {"root"} if by_tanh else {"gain", "cubic"}
    named = {key: f"{y}/gelu/{key}" for key in values}
    constants.update({named[key]: np.array(value, np.float32) for key, value in values.items() if key not in unused})

    def tensor(key: str) -> str:
        return f"{y}/gelu/{key}"

    scale = ("Mul", named["gain"]) if by_tanh else ("Div", named["root"])
    steps: list[tuple[str, tuple[str, ...], str]] = [(scale[0], (x, scale[1]), tensor("scaled"))]
    if by_tanh:
        # gain (x + 0.044715 x^3) = gain x (1 + 0.044715 x^2)
        steps += [("Mul", (x, x), tensor("square")), ("Mul", (tensor("square"), named["cubic"]), tensor("bend"))]
        steps += [
            ("Add", (tensor("bend"), named["one"]), tensor("slope")),
            ("Mul", (tensor("scaled"), tensor("slope")), tensor("argument")),
        ]
    steps += [("Tanh", (tensor("argument"),), tensor("gate"))] if by_tanh else [("Erf", (tensor("scaled"),), tensor("gate"))]
    steps += [("Add", (tensor("gate"), named["one"]), tensor("sum")), ("Mul", (x, named["half"]), tensor("halved"))]
    steps += [("Mul", (tensor("halved"), tensor("sum")), y)]
    return [Node(node.name if output == y else output, op, inputs, (output,)) for op, inputs, output in steps]


def unique_names(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Number the nodes whose name another one before them has."""
    seen: set[str] = set()
    named = []
    for node in nodes:
        name, n = node.name, 1
        while name in seen:
            n += 1
            name = f"{node.name}_{n}"
        seen.add(name)
        named.append(replace(node, name=name))
    return tuple(named)


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    if attribute.type in (attribute.INTS, attribute.FLOATS):
        return list(value)
    if attribute.type == attribute.STRINGS:
        return [item.decode() for item in value]
    return value


def _constant(attrs: Mapping[str, Any]) -> Array:
    ((kind, value),) = attrs.items()
    if kind == "value":
        return np.asarray(value)
    return np.asarray(value, dtype=np.float32 if kind.startswith("value_float") else np.int64)
