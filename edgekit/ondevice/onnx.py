"""An .onnx file, opened in onnxruntime on the CPU."""

from __future__ import annotations

import time
from typing import Any

from .inputs import encode
from .runner import Runner
from .runtimes import import_runtime
from .samples import Sample
from .wire import AgentError

# How onnxruntime spells the types that numpy names.
DTYPES = {"float": "float32", "double": "float64", "float16": "float16", "bool": "bool"}
DTYPES.update({name: name for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")})
# On x86-64 without VNNI its products of uint8 and int8 saturate; this makes them exact there, and nothing elsewhere
# (onnxruntime, onnxruntime_session_options_config_keys.h: kOrtSessionOptionsAvx2PrecisionMode).
EXACT_PRODUCTS = ("session.x64quantprecision", "1")
ERRORS_ONLY = 3  # OrtLoggingLevel


class OnnxRunner(Runner):
    """``builtin`` runs the operators as they stand in the file; without, onnxruntime fuses them into integer kernels.

    ``profile`` is where a profile's name begins, if one is wanted.
    """

    def __init__(self, root: str, artifact: str, threads: int, builtin: bool, profile: str | None = None) -> None:
        self.runtime, module = import_runtime(root, "onnxruntime")
        self._errors = _errors(module)
        options, levels = module.SessionOptions(), module.GraphOptimizationLevel
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, ERRORS_ONLY
        options.graph_optimization_level = levels.ORT_DISABLE_ALL if builtin else levels.ORT_ENABLE_ALL
        options.add_session_config_entry(*EXACT_PRODUCTS)
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, profile
        started = time.perf_counter_ns()
        try:
            self._session = module.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
        except self._errors as error:
            raise AgentError("runtime-failed", "onnxruntime does not open %s: %s" % (artifact, error)) from error
        self.load_ns = time.perf_counter_ns() - started
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.check(artifact, inputs, outputs)
        self.inputs, self.outputs = ([_describe(entry) for entry in table] for table in (inputs, outputs))
        self.delegate, self._names = None, [table["name"] for table in self.outputs]
        self._feed: dict[str, Any] = {}
        self._answer: list[Any] = []

    def set(self, sample: Sample) -> None:
        self._feed = {entry["name"]: value for entry, value in zip(self.inputs, encode(self.inputs, sample))}

    def invoke(self) -> None:
        try:
            self._answer = self._session.run(self._names, self._feed)
        except self._errors as error:
            raise AgentError("runtime-failed", "the network does not run: %s" % error) from error

    def get(self, place: int = 0) -> Any:
        return self._answer[place]

    def end_profile(self) -> str:
        """Return the path of the profile, which is then whole."""
        return str(self._session.end_profiling())


def _errors(module: Any) -> tuple[type[Exception], ...]:
    """Return what onnxruntime raises: its own kinds have no common one."""
    own = vars(module.capi.onnxruntime_pybind11_state).values()
    return (ValueError, RuntimeError, *(kind for kind in own if isinstance(kind, type) and issubclass(kind, Exception)))


def _describe(entry: Any) -> dict[str, Any]:
    dtype = DTYPES.get(entry.type[len("tensor(") : -1]) if entry.type.startswith("tensor(") else None
    if dtype is None or not all(isinstance(size, int) for size in entry.shape):
        raise AgentError("input", "%s is a %s of shape %s; tensors of fixed sizes are needed" % (entry.name, entry.type, entry.shape))
    return {"name": entry.name, "dtype": dtype, "scale": None, "zero_point": None, "shape": list(entry.shape)}
