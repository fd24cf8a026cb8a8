"""A .tflite file, opened in LiteRT or tflite-runtime."""

from __future__ import annotations

import time
from typing import Any

from .inputs import encode
from .runner import Runner
from .runtimes import import_runtime
from .samples import Sample
from .wire import AgentError


class TfliteRunner(Runner):
    """``builtin`` keeps to the runtime's own kernels, which round otherwise than XNNPACK's."""

    def __init__(self, root: str, artifact: str, threads: int, builtin: bool) -> None:
        self.runtime, module = import_runtime(root, "tflite")
        started = time.perf_counter_ns()
        try:
            kernels = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if builtin else module.OpResolverType.AUTO
            self._interpreter = module.Interpreter(model_path=artifact, num_threads=threads, experimental_op_resolver_type=kernels)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise AgentError("runtime-failed", "%s does not open %s: %s" % (self.runtime["name"], artifact, error)) from error
        self.load_ns = time.perf_counter_ns() - started
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self.check(artifact, inputs, outputs)
        self._input_indices, self._output_indices = ([details["index"] for details in table] for table in (inputs, outputs))
        self.inputs, self.outputs = ([_describe(details) for details in table] for table in (inputs, outputs))
        # No delegate was asked for, so one that took over part of the graph can only be the runtime's default.
        operators: list[dict[str, Any]] = getattr(self._interpreter, "_get_ops_details", list)()
        self.delegate = "xnnpack" if any(operator.get("op_name") == "DELEGATE" for operator in operators) else None

    def set(self, sample: Sample) -> None:
        for index, value in zip(self._input_indices, encode(self.inputs, sample)):
            self._interpreter.set_tensor(index, value)

    def invoke(self) -> None:
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise AgentError("runtime-failed", "the network does not run: %s" % error) from error

    def get(self, place: int = 0) -> Any:
        return self._interpreter.get_tensor(self._output_indices[place])


def _describe(details: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    scales, points = (details["quantization_parameters"][key] for key in ("scales", "zero_points"))
    if len(scales) > 1:
        raise AgentError("input", "%s is quantized per channel; an input or output has one scale" % details["name"])
    scale, point = (float(scales[0]), int(points[0])) if len(scales) else (None, None)
    kind, shape = np.dtype(details["dtype"]).name, details["shape"].tolist()
    return {"name": details["name"], "dtype": kind, "scale": scale, "zero_point": point, "shape": shape}
