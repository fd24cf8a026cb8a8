"""What the emitter's tests share: a min/max plan of a graph, and one run of a .tflite in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime

from edgekit.graph import Array, Graph
from edgekit.plan import NodePrecision, QuantPlan, Range
from edgekit.quantize.weights import weight_scales
from edgekit.runtimes.tflite import TfliteRuntime


def float_session(graph: Graph, extra: Sequence[str] = ()) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph.to_onnx(extra).SerializeToString(), options, providers=["CPUExecutionProvider"])


def minmax_plan(graph: Graph, samples: Sequence[Array] | Sequence[Mapping[str, Array]]) -> QuantPlan:
    """Observed extremes; in float, the nodes that the emitter says it has no int8 for."""
    session = float_session(graph, graph.activations)
    lows = dict.fromkeys(graph.activations, np.inf)
    highs = dict.fromkeys(graph.activations, -np.inf)
    for sample in samples:
        feeds = dict(sample) if isinstance(sample, Mapping) else {graph.inputs[0].name: sample}
        values = feeds | dict(zip([value.name for value in session.get_outputs()], session.run(None, feeds), strict=True))
        for name in graph.activations:
            lows[name] = min(lows[name], float(values[name].min()))
            highs[name] = max(highs[name], float(values[name].max()))
    kept = {name: one.why for name, one in TfliteRuntime().support(graph).items() if one.precision == "float32"}
    return QuantPlan(
        graph_sha256=graph.sha256,
        dataset_sha256=None,
        samples=len(samples),
        method="minmax",
        ranges={name: Range(lows[name], highs[name], "minmax") for name in graph.activations},
        weights=weight_scales(graph),
        nodes={name: NodePrecision("float32", why) for name, why in kept.items()},
    )


class Runner:
    """A .tflite in an interpreter of this process, fed and read in real numbers."""

    def __init__(self, data: bytes, *, xnnpack: bool = True) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        kind = OpResolverType.BUILTIN if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self._interpreter = Interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=kind)
        self._interpreter.allocate_tensors()
        self.inputs: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in self._interpreter.get_input_details()}
        self.input = next(iter(self.inputs.values()))
        self.outputs: list[dict[str, Any]] = self._interpreter.get_output_details()

    def quantize(self, real: Array, name: str | None = None) -> Array:
        entry = self.inputs[name] if name else self.input
        dtype = entry["dtype"]
        if dtype not in (np.int8, np.uint8):
            return real.astype(dtype)
        scale, zero_point = entry["quantization"]
        limits = np.iinfo(dtype)
        q: Array = np.clip(np.rint(real / scale) + zero_point, limits.min, limits.max).astype(dtype)
        return q

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Return every raw output for raw inputs by name."""
        for name, value in feeds.items():
            self._interpreter.set_tensor(self.inputs[name]["index"], value)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(entry["index"]) for entry in self.outputs]

    def raw(self, value: Array, output: int = 0) -> Array:
        return self.run({self.input["name"]: value})[output]

    def real(self, value: Array, output: int = 0) -> Any:
        return real(self.raw(value, output), self.outputs[output])


def real(raw: Array, entry: Mapping[str, Any]) -> Array:
    """What a raw input or output says, by its entry in the interpreter."""
    if raw.dtype not in (np.int8, np.uint8):
        return raw
    scale, zero_point = entry["quantization"]
    values: Array = (scale * (raw.astype(np.float32) - zero_point)).astype(np.float32)
    return values


def sqnr_db(reference: Array, measured: Array) -> float:
    """Signal to quantization noise ratio."""
    noise = float(((reference - measured) ** 2).sum())
    return float(10 * np.log10(float((reference**2).sum()) / max(noise, 1e-20)))
