"""A plan's INT8 arithmetic as a float graph: what each rounding costs, without any runtime's file.

``recover`` corrects against it, ``debug`` and the budget search measure on it. An int8 node reads int8
inputs and int8 weights; what it writes is int8 where the plan's scheme stores it so. Rounding is said by
QuantizeLinear and DequantizeLinear, so run the result with ``session``, which leaves the optimiser out:
from its first level on it would quantize float weights beside such pairs by itself.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import onnxruntime

from edgekit.graph import Array, Graph, Node
from edgekit.placement import rounded_reads
from edgekit.plan import INT8_MAX, QuantPlan, WeightScale, asymmetric_int8, symmetric_int8
from edgekit.quantize.observe import equivalents

__all__ = ["fused_clamp", "on_grid", "session", "simulate"]


def simulate(graph: Graph, plan: QuantPlan, *, only: Collection[str] | None = None) -> Graph:
    """Return the graph with every rounding that the plan decides.

    Tensor names stay: ``t`` is what its node hands on, rounded if that node stores int8. The rounded
    copy that an int8 node reads of a float tensor is ``t/int8``.

    Parameters
    ----------
    only
        Names of the nodes that compute in int8, all others being float: a layer by itself. None follows
        the plan.
    """
    names = {node.name for node in graph.nodes}
    chosen = names if only is None else names & set(only)
    int8 = {name for name in chosen if plan.precision(name) == "int8"}
    rounding = _Rounding(graph, plan)
    same = equivalents(graph)
    reads = None if plan.scheme.stores else rounded_reads(graph, plan)
    rounded: set[str] = set()
    for node in graph.nodes:
        made = [name for name in node.outputs if graph.dtypes.get(name) == "float32"]
        inputs = list(node.inputs)
        if node.name in int8:
            for slot, name in enumerate(inputs):
                if name in plan.weights:
                    inputs[slot] = rounding.weight(name)
                elif graph.dtypes.get(name) != "float32" or name in graph.weights or name in rounded:
                    continue
                elif reads is None or (node.name, slot) in reads:
                    inputs[slot] = rounding.copy(name)
        # A tensor that one clamp alone reads is rounded behind the clamp: runtimes fuse the two.
        fused = {name for name in made if fused_clamp(graph, same, name)}
        stores = node.name in int8 and plan.scheme.stores
        late = {name: f"{name}/exact" for name in made if stores and name not in fused}
        rounding.nodes.append(replace(node, inputs=tuple(inputs), outputs=tuple(late.get(name, name) for name in node.outputs)))
        for name, exact in late.items():
            rounding.declare(exact, name)
            rounding.pair(exact, name, name)
        rounded.update(late)
        rounded.update(fused if stores else ())
    return rounding.graph()


def session(graph: Graph, outputs: Collection[str] = ()) -> onnxruntime.InferenceSession:
    """Open a simulated graph in ONNX Runtime, unoptimised, with inner tensors exposed after its own outputs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(graph.to_onnx(outputs).SerializeToString(), options, providers=["CPUExecutionProvider"])


def on_grid(weight: Array, scale: WeightScale) -> Array:
    """Return the float32 values that a constant has after rounding to int8 with these scales."""
    steps = np.asarray(scale.scales, np.float64)
    if scale.axis is not None:
        steps = steps.reshape([-1 if axis == scale.axis else 1 for axis in range(weight.ndim)])
    rounded: Array = (np.clip(np.rint(weight / steps), -INT8_MAX, INT8_MAX) * steps).astype(np.float32)
    return rounded


def fused_clamp(graph: Graph, same: dict[str, str], name: str) -> Node | None:
    """Return the Relu or Clip that alone reads a tensor and lends it its range (``same``: see ``equivalents``), if there is one."""
    readers = graph.consumers.get(name, ())
    if len(readers) != 1 or readers[0].op not in ("Relu", "Clip"):
        return None
    behind = readers[0].outputs[0]
    return readers[0] if same.get(name) == same.get(behind, behind) else None


class _Rounding:
    """The simulated graph as it grows."""

    def __init__(self, graph: Graph, plan: QuantPlan) -> None:
        self.source, self.plan = graph, plan
        self.nodes: list[Node] = []
        self.weights = dict(graph.weights)
        self.shapes, self.dtypes = dict(graph.shapes), dict(graph.dtypes)
        self._copies: dict[str, str] = {}

    def weight(self, name: str) -> str:
        rounded = f"{name}/int8"
        if rounded not in self.weights:
            self.constant(rounded, on_grid(self.source.weights[name], self.plan.weights[name]))
        return rounded

    def copy(self, name: str) -> str:
        """Return the rounded copy of a float tensor, made once."""
        if name not in self._copies:
            self._copies[name] = f"{name}/int8"
            self.declare(self._copies[name], name)
            self.pair(name, self._copies[name], name)
        return self._copies[name]

    def pair(self, source: str, target: str, ranged: str) -> None:
        """Add the two nodes that round ``source`` into ``target`` with the range of ``ranged``."""
        interval = self.plan.ranges[ranged]
        scale, zero_point = symmetric_int8(interval.lo, interval.hi), 0
        if not self.plan.scheme.symmetric:
            scale, zero_point = asymmetric_int8(interval.lo, interval.hi)
        names = (f"{target}/scale", f"{target}/zero_point")
        self.constant(names[0], np.array(scale, np.float32))
        self.constant(names[1], np.array(zero_point, np.int8))
        self.shapes[f"{target}/q"], self.dtypes[f"{target}/q"] = self.source.shapes[ranged], "int8"
        self.nodes.append(Node(f"{target}/quantize", "QuantizeLinear", (source, *names), (f"{target}/q",)))
        self.nodes.append(Node(f"{target}/dequantize", "DequantizeLinear", (f"{target}/q", *names), (target,)))

    def declare(self, name: str, like: str) -> None:
        self.shapes[name], self.dtypes[name] = self.source.shapes[like], "float32"

    def constant(self, name: str, values: Array) -> None:
        self.weights[name], self.shapes[name], self.dtypes[name] = values, values.shape, values.dtype.name

    def graph(self) -> Graph:
        return self.source.with_nodes(self.nodes, weights=self.weights, shapes=self.shapes, dtypes=self.dtypes)
