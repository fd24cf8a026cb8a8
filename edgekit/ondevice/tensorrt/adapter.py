"""One face for TensorRT 8.5 to 11 and TensorRT for RTX: what the installed one has decides, not its version.

Used by `work` (engines) and `check` (networks). Whatever TensorRT says goes to stderr; errors and warnings are kept besides.
Run against TensorRT for RTX 1.7; names that it lacks were read off the Python package of 8.6.0. Weakly typed networks, DLA and timing
caches need a GPU: written after NVIDIA's documents and not proven on hardware.
"""

from __future__ import annotations

import contextlib
import re
import sys
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

from ..wire import AgentError, Progress

Profiles = Mapping[str, Sequence[Sequence[int]]]  # input -> smallest, likeliest, largest shape

FLAGS = {"int8": ("INT8",), "fp16": ("FP16",), "mixed": ("INT8", "FP16")}  # what a weakly typed network's layers may compute in
KEPT_MESSAGES = 200
# How the ONNX parser names the node it stumbles on, in logs of 8.2 to 10.16 (onnx-tensorrt, ModelImporter.cpp).
PARSING = re.compile(r'[Pp]arsing node number (\d+) \[(\w*) -> "([^"]*)"')
INVALID = re.compile(r"Invalid Node - (\S+)")
# And the builder: "Could not find any implementation for node {...}.", "Error Code 4: API Usage Error (/Sub: ...".
BUILDING = re.compile(r"implementation for node \{?(.+?)\}?\.(?:\)|\s|$)|Error Code \d+: [A-Z][A-Za-z ]+\(([^\s:()]+): ")
# Lines that only say that the step around the failed one failed too (trtexec, sampleEngines.cpp), the parser's frames, and what every
# refusal ends in on a host without a driver.
EMPTY = re.compile(
    r"(Engine set up failed|Failed to parse onnx file|Parsing model failed|Failed to create engine from model|Building engine failed"
    r"|Engine could not be created from network|Network parsing failed|--- (Begin|End) node ---|^(input|output|name|op_type): "
    r"|cudaError 35|In function \w+:$)"
)
MEMORY = re.compile(r"out ?of ?memory|insufficient memory|Requested (size|amount) ", re.IGNORECASE)
MEMORY_FIX = "close what else uses memory (a desktop does), allow a smaller workspace, or add swap"


class Network(NamedTuple):
    """A parsed network with what it needs to stay alive, and what is wrong with it: tables of node, op and message."""

    trt: Any
    log: Any
    builder: Any
    definition: Any
    weak: bool
    errors: list[dict[str, str | None]]


def load(trt: Any) -> str:
    """Return the version of a TensorRT module, or refuse one that knows no named tensors."""
    if not hasattr(trt.ICudaEngine, "num_io_tensors") or not hasattr(trt.Builder, "build_serialized_network"):
        raise AgentError("runtime-failed", "TensorRT %s is too old: 8.5 (JetPack 5.1) or newer is needed" % trt.__version__)
    return str(trt.__version__)


def logger(trt: Any) -> Any:
    """Return a logger with lists ``errors`` and ``warnings``."""

    class Log(trt.ILogger):  # type: ignore[misc]  # TensorRT asks for a subclass of its own
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.warnings: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            level = int(severity)  # 0 internal error, 1 error, 2 warning, 3 information, 4 verbose (NvInferRuntimeBase.h)
            kept = self.errors if level <= 1 else self.warnings if level == 2 else None
            if kept is not None and len(kept) < KEPT_MESSAGES:
                kept.append(message)
            if level <= 3:
                with contextlib.suppress(OSError):  # a full disk: no exception may pass through TensorRT
                    sys.stderr.write("[%s] %s\n" % ("FEWI"[level], message))

    return Log()


def open_network(trt: Any, onnx: str, typing: str) -> Network:
    """Parse a file. ``typing`` is what the file was written for; a TensorRT without weakly typed networks reads both as strongly typed."""
    log = logger(trt)
    try:
        builder = trt.Builder(log)
    except (TypeError, RuntimeError) as error:  # no driver, no GPU: pybind11 gets a null pointer
        why = said_of([*log.warnings, *log.errors]) or error
        raise AgentError("runtime-failed", "TensorRT's builder does not start: %s" % why) from error
    kinds = trt.NetworkDefinitionCreationFlag
    weak = typing == "weak" and hasattr(trt.BuilderFlag, "FP16")
    # Below 10 batches are implicit unless asked otherwise; 10 ignores that flag, 11 has none. Where networks may be typed weakly,
    # strong ones are asked for; where they may not, that flag is ignored, or gone (NvInfer.h; "Migrating from TensorRT 10.x to 11.x").
    wanted = ["EXPLICIT_BATCH"] + ([] if weak else ["STRONGLY_TYPED"])
    if not weak and hasattr(trt.BuilderFlag, "FP16") and not hasattr(kinds, "STRONGLY_TYPED"):
        raise AgentError("input", "TensorRT %s has no strongly typed networks, and this file is one" % trt.__version__)
    flags = [1 << int(getattr(kinds, name)) for name in wanted if hasattr(kinds, name)]
    definition = builder.create_network(sum(flags))
    parser = trt.OnnxParser(definition, log)
    parsed = parser.parse_from_file(onnx)
    errors = [_parser_error(parser.get_error(index), log.errors) for index in range(parser.num_errors)]
    if not parsed and not errors:
        errors = [explain(log.errors)]
    return Network(trt, log, builder, definition, weak, errors)


def _parser_error(error: Any, said: list[str]) -> dict[str, str | None]:
    found = explain([*said, error.desc()])
    name = error.node_name() if hasattr(error, "node_name") else None  # from 10
    operator = error.node_operator() if hasattr(error, "node_operator") else None
    number = None if error.node() < 0 else "number %d" % error.node()
    return {"node": name or found["node"] or number, "op": operator or found["op"], "message": explain([error.desc()])["message"]}


def explain(lines: Iterable[str]) -> dict[str, str | None]:
    """Return the node, the operator and the message in what TensorRT said when it failed; None where it names none."""
    kept = list(lines)
    text = "\n".join(kept)
    parsing, invalid = PARSING.search(text), INVALID.search(text)
    building = None if parsing or invalid else BUILDING.search(text)
    node = invalid.group(1) if invalid else parsing.group(3) if parsing else (building.group(1) or building.group(2)) if building else None
    return {"node": node, "op": parsing.group(2) or None if parsing else None, "message": said_of(kept) or "TensorRT does not say why"}


def said_of(lines: Iterable[str]) -> str:
    """Return the last of the lines that say something, with what helps when memory ran out."""
    kept = [line.strip() for line in "\n".join(lines).splitlines() if line.strip()]
    telling = [line for line in kept if not EMPTY.search(line)] or kept
    said = "; ".join(dict.fromkeys(telling[-3:]))[-1500:]
    return said + "; " + MEMORY_FIX if MEMORY.search(said) else said


def refused(error: Mapping[str, str | None], version: str) -> AgentError:
    """Return the error of a network that TensorRT refuses."""
    node = " at node %s" % error["node"] if error["node"] else ""
    operator = " (%s)" % error["op"] if error["op"] else ""
    return AgentError("runtime-failed", "TensorRT %s does not build it%s%s: %s" % (version, node, operator, error["message"]))


def died(number: int, lines: Iterable[str]) -> AgentError:
    """Return the error of a builder that a signal ended. The kernel's choice when memory runs out is signal 9 (mm/oom_kill.c)."""
    if number == 9:
        return AgentError("runtime-failed", "the builder was killed by signal 9: most likely memory ran out (dmesg tells)", MEMORY_FIX)
    said = said_of(lines)
    return AgentError("runtime-failed", "the builder was killed by signal %d%s" % (number, said and ": " + said))


def build(
    network: Network, recipe: Mapping[str, Any], workspace_bytes: int | None, timing_cache: bytes, progress: Progress, profiles: Profiles
) -> tuple[Any, bytes, list[str]]:
    """Return the engine's bytes (None: refused, the log says why), what the builder timed, and the layers that a DLA left to the GPU.

    ``recipe`` has `RECIPE_FIELDS`; ``timing_cache`` may be empty; every input with open dimensions needs a profile.
    """
    trt, config = network.trt, network.builder.create_builder_config()
    use_profiles(network, config, profiles)
    if network.weak:
        for flag in FLAGS[recipe["precision"]]:
            config.set_flag(getattr(trt.BuilderFlag, flag))
        if "FP16" in FLAGS[recipe["precision"]]:
            _hold_float32(network, config, frozenset(recipe["float32_nodes"]))
    if workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or the inspector has nothing but names to tell
    fallback = [] if recipe["dla_core"] is None else _use_dla(network, config, recipe["dla_core"])
    if hasattr(trt, "IProgressMonitor"):  # from 10
        monitor = _monitor(trt, progress)
        config.progress_monitor = monitor
    cache = _timing_cache(network, config, timing_cache)
    progress("build the engine", 0, 1)
    plan = network.builder.build_serialized_network(network.definition, config)
    return plan, bytes(cache.serialize()), fallback


def use_profiles(network: Network, config: Any, profiles: Profiles) -> None:
    """Tell the builder which shapes inputs with open dimensions take: smallest, likeliest, largest."""
    inputs = [network.definition.get_input(index) for index in range(network.definition.num_inputs)]
    dynamic = [entry for entry in inputs if -1 in tuple(entry.shape)]
    for entry in dynamic:
        if entry.name not in profiles:
            message = "input %r has open dimensions %s: the engine needs to know their range" % (entry.name, list(entry.shape))
            raise AgentError("input", message, "give the model fixed shapes")
    if dynamic:
        profile = network.builder.create_optimization_profile()
        for entry in dynamic:
            profile.set_shape(entry.name, *(tuple(shape) for shape in profiles[entry.name]))
        if config.add_optimization_profile(profile) < 0:
            raise AgentError("input", "TensorRT does not take the profile of %s" % ", ".join(entry.name for entry in dynamic))


def _layers(network: Network) -> list[Any]:
    return [network.definition.get_layer(index) for index in range(network.definition.num_layers)]


def _node_of(layer: Any) -> str:
    """Return the ONNX node a layer was made of: its metadata says so from 8.6; before, it only bears the name."""
    found = re.match(r"\[ONNX Layer: (.*)\]", getattr(layer, "metadata", "") or "")
    return found.group(1) if found else str(layer.name)


def _hold_float32(network: Network, config: Any, nodes: frozenset[str]) -> None:
    trt = network.trt
    if nodes:
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for layer in _layers(network):
        outputs = [index for index in range(layer.num_outputs) if layer.get_output(index).dtype == trt.DataType.FLOAT]
        if outputs and _node_of(layer) in nodes and layer.type != trt.LayerType.CONSTANT:
            layer.precision = trt.DataType.FLOAT
            for index in outputs:
                layer.set_output_type(index, trt.DataType.FLOAT)


def _use_dla(network: Network, config: Any, core: int) -> list[str]:
    trt, cores = network.trt, network.builder.num_DLA_cores
    if core >= cores:
        raise AgentError("input", "DLA core %d is asked for; TensorRT %s finds %d here" % (core, trt.__version__, cores))
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    layers = [layer for layer in _layers(network) if layer.type != trt.LayerType.CONSTANT]
    fallback = [layer.name for layer in layers if not config.can_run_on_DLA(layer)]
    if len(fallback) == len(layers):  # TensorRT documentation, "Working with DLA": no explicit quantization, hence fp16 alone
        network.log.warnings.append(
            "DLA core %d takes no layer of this network: all of it runs on the GPU; of Q/DQ it knows nothing" % core
        )
    return fallback


def _timing_cache(network: Network, config: Any, data: bytes) -> Any:
    """Begin with what was timed before, where TensorRT takes it: it refuses what another GPU or release timed."""
    for known in (data, b"") if data else (b"",):
        cache = config.create_timing_cache(known)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
        network.log.warnings.append("TensorRT does not take the timing cache (%d bytes): every layer is timed again" % len(known))
    raise AgentError("runtime-failed", "TensorRT makes no timing cache: %s" % said_of(network.log.errors))


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # as `Log`
        """Tells of the steps of the innermost phase; may be called from several threads."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, _parent: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            progress(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            total = self._steps.get(phase_name, 1)
            progress(phase_name, min(step + 1, total), total)
            return True

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()


def layer_information(trt: Any, plan: Any) -> str:
    """Return what TensorRT's inspector says of an engine's layers, as JSON."""
    log = logger(trt)
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise AgentError("runtime-failed", "the new engine cannot be opened: %s" % explain(log.errors)["message"])
    return str(engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))


def profiler(trt: Any) -> Any:
    """Return a profiler whose ``times_ns`` are those of each layer, run by run, in the order in which they first ran.

    A context calls it for each run (TensorRT, IProfiler: executeV2, enqueueV3). Not proven on hardware.
    """

    class Layers(trt.IProfiler):  # type: ignore[misc]  # as `Log`
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times_ns: dict[str, list[int]] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times_ns.setdefault(layer_name, []).append(round(ms * 1e6))

    return Layers()
