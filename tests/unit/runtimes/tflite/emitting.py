"""What the emitter's tests share: a min/max plan of a graph, and one run of a .tflite in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime

from edgekit.graph import Array, Graph
from edgekit.plan import QuantPlan, Range
from edgekit.quantize.weights import weight_scales


def float_session(graph: Graph, extra: Sequence[str] = ()) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph.to_onnx(extra).SerializeToString(), options, providers=["CPUExecutionProvider"])


def minmax_plan(graph: Graph, samples: Sequence[Array]) -> QuantPlan:
    (entry,) = graph.inputs
    session = float_session(graph, graph.activations)
    names = [entry.name, *(value.name for value in session.get_outputs())]
    lows = dict.fromkeys(names, np.inf)
    highs = dict.fromkeys(names, -np.inf)
    for sample in samples:
        for name, value in zip(names, [sample, *session.run(None, {entry.name: sample})], strict=True):
            lows[name] = min(lows[name], float(value.min()))
            highs[name] = max(highs[name], float(value.max()))
    return QuantPlan(
        graph_sha256=graph.sha256,
        dataset_sha256=None,
        samples=len(samples),
        method="minmax",
        ranges={name: Range(lows[name], highs[name], "minmax") for name in graph.activations},
        weights=weight_scales(graph),
    )


class Runner:
    """A .tflite in an interpreter of this process, fed and read in real numbers."""

    def __init__(self, data: bytes, *, xnnpack: bool = True) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        kind = OpResolverType.BUILTIN if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self._interpreter = Interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=kind)
        self._interpreter.allocate_tensors()
        self.input: dict[str, Any] = self._interpreter.get_input_details()[0]
        self.outputs: list[dict[str, Any]] = self._interpreter.get_output_details()

    def quantize(self, real: Array) -> Array:
        dtype = self.input["dtype"]
        if dtype == np.float32:
            return real
        scale, zero_point = self.input["quantization"]
        limits = np.iinfo(dtype)
        q: Array = np.clip(np.rint(real / scale) + zero_point, limits.min, limits.max).astype(dtype)
        return q

    def raw(self, value: Array, output: int = 0) -> Array:
        self._interpreter.set_tensor(self.input["index"], value)
        self._interpreter.invoke()
        raw: Array = self._interpreter.get_tensor(self.outputs[output]["index"])
        return raw

    def real(self, value: Array, output: int = 0) -> Any:
        scale, zero_point = self.outputs[output]["quantization"]
        raw = self.raw(value, output)
        return raw if raw.dtype == np.float32 else scale * (raw.astype(np.float32) - zero_point)


def sqnr_db(reference: Array, measured: Array) -> float:
    """Signal to quantization noise ratio."""
    noise = float(((reference - measured) ** 2).sum())
    return float(10 * np.log10(float((reference**2).sum()) / max(noise, 1e-20)))
