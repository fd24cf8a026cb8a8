"""``SideBySide``: a float network with int8 copies of it, or of parts of it, in one graph of which sums alone come out.

``compare`` builds one. No tensor leaves the runtime: behind each stand the sums over its values that the figures
need. Nodes run one by one in the order they are placed in and a tensor is freed behind its last reader, so memory
is that of an inference or two, whatever the number of samples and of layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edgekit.errors import InputError
from edgekit.graph import Array, Graph, Node

__all__ = ["WHOLE", "SideBySide"]

WHOLE = "int8:"
"""Prefix of the names that the int8 copy of the whole network has, and of all constants of int8 copies."""


class SideBySide:
    """The one graph as it grows. Copies read the float network's tensors as their inputs, or its inputs."""

    def __init__(self, graph: Graph) -> None:
        self.source = graph
        self.nodes: list[Node] = []
        self.weights = dict(graph.weights)
        self.shapes, self.dtypes = dict(graph.shapes), dict(graph.dtypes)
        self._folds: dict[str, Callable[[Array, Array], Array]] = {}
        self._made: set[str] = set()

    # -- networks

    def copy(self, graph: Graph, prefix: str) -> Iterator[Node]:
        """Return a graph's nodes, to be placed, under names that begin with ``prefix``."""
        new = {name: f"{WHOLE}{name}" for name in graph.weights}
        new |= {name: f"{prefix}{name}" for node in graph.nodes for name in node.outputs if name}
        for name, renamed in new.items():
            self.shapes[renamed], self.dtypes[renamed] = graph.shapes[name], graph.dtypes[name]
        # One constant serves all copies: the same plan rounds it to the same values.
        self.weights |= {new[name]: array for name, array in graph.weights.items() if new[name] not in self.weights}

        def renamed_node(node: Node) -> Node:
            inputs, outputs = (tuple(new.get(name, name) for name in names) for names in (node.inputs, node.outputs))
            return replace(node, name=f"{prefix}{node.name}", inputs=inputs, outputs=outputs)

        return map(renamed_node, graph.nodes)

    def place(self, nodes: Iterator[Node], until: str | None = None) -> None:
        """Put nodes behind those that are there: all, or up to the one that makes a tensor unless it is made already."""
        while until not in self._made and (node := next(nodes, None)):
            self.nodes.append(node)
            self._made.update(node.outputs)

    # -- sums; each returns its name in what `run` gives

    def power(self, tensor: str, keep: int | None = None) -> str:
        """Sum the squares of a tensor, over all axes or all but one."""
        return self._reduce("ReduceSumSquare", tensor, keep, np.add)

    def error_power(self, tensor: str, other: str, keep: int | None = None) -> str:
        """Sum the squares of a difference."""
        return self.power(self._op("Sub", (tensor, other), f"{tensor} - {other}"), keep)

    def extremes(self, tensor: str, keep: int | None) -> tuple[str, str]:
        """Find the least and the greatest value."""
        return self._reduce("ReduceMin", tensor, keep, np.minimum), self._reduce("ReduceMax", tensor, keep, np.maximum)

    def clipped(self, tensor: str, lo: float, hi: float) -> str:
        """Return the tensor cut to an interval; not a sum, but something to take one of."""
        bounds = [self._constant(f"{tensor} to {value!r}", np.array(value, np.float32)) for value in (lo, hi)]
        return self._op("Clip", (tensor, *bounds), f"{tensor} in {lo!r}..{hi!r}")

    def rounded(self, tensor: str, scale: float, zero_point: int) -> str:
        """Return the tensor rounded to int8; not a sum either."""
        grid = (
            self._constant(f"{tensor} scale", np.array(scale, np.float32)),
            self._constant(f"{tensor} zero", np.array(zero_point, np.int8)),
        )
        q = self._op("QuantizeLinear", (tensor, *grid), f"{tensor} q", dtype="int8")
        return self._op("DequantizeLinear", (q, *grid), f"{tensor} rounded")

    def outside(self, tensor: str, lo: float, hi: float) -> str:
        """Count the values outside an interval."""
        cut = self.clipped(tensor, lo, hi)
        within = self._op("Equal", (tensor, cut), f"{cut}?", dtype="bool")
        beyond = self._op("Not", (within,), f"{cut}!", dtype="bool")
        return self._reduce("ReduceSum", self._op("Cast", (beyond,), f"{cut}: 1", to=1), None, np.add)

    def _reduce(self, op: str, tensor: str, keep: int | None, fold: Callable[[Array, Array], Array]) -> str:
        shape = self.shapes[tensor]
        axes = [axis for axis in range(len(shape)) if axis != keep]
        target = f"{op} {keep} ({tensor})"
        self._folds[target] = fold
        left = () if keep is None or not axes else (shape[keep],)
        if not left:
            return self._op(op, (tensor,), target, shape=left, keepdims=0)
        # ReduceSum takes axes as an input from operator set 13 on, its sisters from 18 on.
        if self.source.opset < 18:
            return self._op(op, (tensor,), target, shape=left, keepdims=0, axes=axes)
        return self._op(op, (tensor, self._constant(f"{target} axes", np.array(axes, np.int64))), target, shape=left, keepdims=0)

    def _op(
        self, op: str, inputs: tuple[str, ...], output: str, *, shape: Sequence[int] | None = None, dtype: str = "float32", **attrs: object
    ) -> str:
        self.shapes[output] = self.shapes[inputs[0]] if shape is None else tuple(shape)
        self.dtypes[output] = dtype
        self.place(iter([Node(output, op, inputs, (output,), attrs)]), output)
        return output

    def _constant(self, name: str, value: Array) -> str:
        self.weights[name], self.shapes[name], self.dtypes[name] = value, value.shape, value.dtype.name
        return name

    # -- running

    def run(self, samples: Iterable[Mapping[str, Array]], progress: Callable[[int], None] = lambda _: None) -> tuple[dict[str, Array], int]:
        """Return every sum over all samples, float64, and the number of samples.

        Parameters
        ----------
        samples
            One at a time, by input name, with the graph's own shapes.
        progress
            Called with the number of samples done.

        Raises
        ------
        InputError
            There are no samples, or the network does not run on one.
        """
        names = list(self._folds)
        runner = self._session(names)
        sums: dict[str, Array] = {}
        done = 0
        for done, sample in enumerate(samples, start=1):
            try:
                found = runner.run(names, dict(sample))
            except (ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.RuntimeException) as error:
                raise InputError(f"onnxruntime cannot run the model on sample {done - 1}: {error}") from error
            for name, value in zip(names, found, strict=True):
                sums[name] = self._folds[name](sums[name], value) if name in sums else np.asarray(value, np.float64)
            progress(done)
        if not done:
            raise InputError("there are no samples to compare on", fix='name some in edgekit.toml: [evaluation] dataset = "..."')
        return sums, done

    def _session(self, outputs: Iterable[str]) -> onnxruntime.InferenceSession:
        graph = self.source.with_nodes(self.nodes, weights=self.weights, shapes=self.shapes, dtypes=self.dtypes)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        # See `simulate`: the optimiser would quantize float weights by itself.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Even so it gives each reader of a DequantizeLinear one of its own, and runs these last (ensure_unique_dq_for_node_unit.cc).
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        # One node after the other as written (graph_viewer.cc, PriorityNodeCompare). The default goes depth first from the outputs:
        # all of one network, then all of the next, every tensor waiting for its fellow.
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        return onnxruntime.InferenceSession(graph.to_onnx(outputs).SerializeToString(), options, providers=["CPUExecutionProvider"])
