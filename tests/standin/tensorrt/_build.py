"""A TEST DOUBLE of TensorRT's builder. It checks how it is called, and writes an "engine" that says what it was told.

What a release lacks, this lacks: the names of 8.5 to 11 are those of the Python packages 8.6.0 and tensorrt-rtx 1.7, and of NVIDIA's
release notes.
From the environment:

    STANDIN_TENSORRT_VERSION   (10.3.0)
    STANDIN_DLA_CORES          how many the board has (0)
    STANDIN_REFUSE             an operator that the parser refuses
    STANDIN_FAIL               what the builder says when it fails; unset, it does not
    STANDIN_ENGINE_MIB         how much larger than its network an engine is (0)
    STANDIN_KILL               a signal that the builder dies of, in the middle
    STANDIN_GATE               a file: the builder waits in the middle until it is there
    STANDIN_JOURNAL            a file: each build adds a JSON line when it begins
"""

from __future__ import annotations

import enum
import json
import os
import time
from typing import Any, Callable

from ._onnx import Graph, Node, read

VERSION = os.environ.get("STANDIN_TENSORRT_VERSION", "10.3.0")
RELEASE = tuple(int(part) for part in VERSION.split(".")[:2])
WEAK = RELEASE < (11, 0)  # 11 removes weak typing ("Migrating from TensorRT 10.x to 11.x")
MONITORS = STRONG = RELEASE >= (10, 0)  # neither is in 8.6.0
MAGIC, TIMING_MAGIC = b"STANDIN-ENGINE\n", b"STANDIN-TIMING\n"
DLA_OPERATORS = ("Conv", "Relu", "MaxPool", "Add")


def _enum(name: str, names: str) -> Any:
    return enum.IntEnum(name, [(word, number) for number, word in enumerate(names.split())])


class Severity(enum.IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


BuilderFlag = _enum("BuilderFlag", "GPU_FALLBACK TF32" + (" FP16 INT8 OBEY_PRECISION_CONSTRAINTS" if WEAK else ""))
NetworkDefinitionCreationFlag = _enum(
    "NetworkDefinitionCreationFlag", ("EXPLICIT_BATCH " if WEAK else "") + ("STRONGLY_TYPED" if STRONG else "EXPLICIT_PRECISION")
)
MemoryPoolType = _enum("MemoryPoolType", "WORKSPACE DLA_MANAGED_SRAM")
ProfilingVerbosity = _enum("ProfilingVerbosity", "LAYER_NAMES_ONLY NONE DETAILED")
DeviceType = _enum("DeviceType", "GPU DLA")
DataType = enum.IntEnum("DataType", {"FLOAT": 0, "HALF": 1, "INT8": 2, "INT32": 3, "BOOL": 4, "UINT8": 5, "INT64": 8})
LayerType = _enum("LayerType", "CONVOLUTION ACTIVATION QUANTIZE DEQUANTIZE CONSTANT SHAPE IDENTITY")
TYPES = {"Conv": 0, "Relu": 1, "QuantizeLinear": 2, "DequantizeLinear": 3, "Constant": 4, "Shape": 5}
DTYPES = {"QuantizeLinear": DataType.INT8, "Shape": DataType.INT32}


class ILogger:
    def __init__(self) -> None: ...

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


if MONITORS:

    class IProgressMonitor:
        def __init__(self) -> None: ...


class IHostMemory(bytes):  # a buffer without a length, as NVIDIA's is
    nbytes = property(bytes.__len__)

    def __len__(self) -> int:
        raise TypeError("object of type 'IHostMemory' has no len()")


class ITensor:
    def __init__(self, name: str, shape: tuple[int, ...], dtype: Any) -> None:
        self.name, self.shape, self.dtype = name, shape, dtype


class ILayer:
    __slots__ = ("_outputs", "name", "type") + (("_types", "precision") if WEAK else ()) + (("metadata",) if RELEASE >= (8, 6) else ())

    def __init__(self, number: int, node: Node) -> None:
        self.type = LayerType(TYPES.get(node.op, LayerType.IDENTITY))
        self.name = node.name or "(Unnamed Layer* %d) [%s]" % (number, node.op)
        self._outputs = [ITensor(name, (), DTYPES.get(node.op, DataType.FLOAT)) for name in node.outputs]
        if RELEASE >= (8, 6):
            self.metadata = "[ONNX Layer: %s]" % node.name
        if WEAK:
            self._types: dict[int, Any] = {}

    num_outputs = property(lambda self: len(self._outputs))

    def get_output(self, index: int) -> ITensor:
        return self._outputs[index]

    if WEAK:

        def set_output_type(self, index: int, dtype: Any) -> None:
            self._types[index] = dtype


class INetworkDefinition:
    def __init__(self, flags: int) -> None:
        self._flags, self._data = flags, b""
        self._layers: list[ILayer] = []
        self._inputs: list[ITensor] = []

    num_inputs = property(lambda self: len(self._inputs))
    num_layers = property(lambda self: len(self._layers))

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]

    def get_layer(self, index: int) -> ILayer:
        return self._layers[index]


class ParserError:
    def __init__(self, number: int, node: Node, desc: str) -> None:
        self._number, self._node, self._desc = number, node, desc

    def node(self) -> int:
        return self._number

    def desc(self) -> str:
        return self._desc

    if RELEASE >= (10, 0):

        def node_name(self) -> str:
            return self._node.name

        def node_operator(self) -> str:
            return self._node.op


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger = network, logger
        self._errors: list[ParserError] = []

    num_errors = property(lambda self: len(self._errors))

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse_from_file(self, model: str) -> bool:
        with open(model, "rb") as file:
            data = file.read()
        try:
            graph: Graph = read(data)
        except (ValueError, IndexError):
            self._logger.log(Severity.ERROR, "ModelImporter.cpp:735: Failed to parse ONNX model from file: %s" % model)
            return False
        if not RELEASE >= (10, 0) and not self._network._flags & 1 << NetworkDefinitionCreationFlag.EXPLICIT_BATCH:
            self._logger.log(Severity.ERROR, "This version of the ONNX parser only supports networks with an explicit batch dimension")
            return False
        for number, node in enumerate(graph.nodes):
            if node.domain not in ("", "ai.onnx") or node.op == os.environ.get("STANDIN_REFUSE"):
                self._refuse(number, node)
                return False
        network = self._network
        network._data, network._layers = data, [ILayer(number, node) for number, node in enumerate(graph.nodes)]
        network._inputs = [ITensor(name, shape, DataType.FLOAT) for name, shape in graph.inputs.items()]
        return True

    def _refuse(self, number: int, node: Node) -> None:
        lines = [
            'ModelImporter.cpp:771: While parsing node number %d [%s -> "%s"]:' % (number, node.op, "".join(node.outputs[:1])),
            'ModelImporter.cpp:772: --- Begin node ---\nname: "%s"\nop_type: "%s"\n' % (node.name, node.op),
            "ModelImporter.cpp:773: --- End node ---",
            "ModelImporter.cpp:777: ERROR: ModelImporter.cpp:195 In function parseGraph:\n[6] Invalid Node - %s\nit is refused" % node.name,
        ]
        for line in lines:
            self._logger.log(Severity.ERROR, line)
        self._errors.append(ParserError(number, node, "Invalid Node - %s\nit is refused" % node.name))


class ITimingCache:
    def __init__(self, known: dict[str, Any]) -> None:
        self._known = known

    def serialize(self) -> IHostMemory:
        return IHostMemory(TIMING_MAGIC + json.dumps(self._known).encode())


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, Any] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
        self._shapes[input] = (min, opt, max)


class IBuilderConfig:
    __slots__ = ("DLA_core", "_cache", "_flags", "_logger", "_pools", "_profiles", "default_device_type", "profiling_verbosity") + (
        ("progress_monitor",) if MONITORS else ()
    )

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        self._cache: ITimingCache | None = None
        self._flags: set[str] = set()
        self._pools: dict[Any, int] = {}
        self._profiles: list[IOptimizationProfile] = []
        self.DLA_core, self.default_device_type, self.profiling_verbosity = -1, DeviceType.GPU, ProfilingVerbosity.LAYER_NAMES_ONLY

    def set_flag(self, flag: Any) -> None:
        self._flags.add(BuilderFlag(flag).name)

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self._pools[MemoryPoolType(pool)] = pool_size

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1 if profile._shapes else -1

    def can_run_on_DLA(self, layer: ILayer) -> bool:  # noqa: N802
        return layer.type in (LayerType.CONVOLUTION, LayerType.ACTIVATION)

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        if not serialized_timing_cache:
            return ITimingCache({"tensorrt": VERSION, "layers": []})
        if not serialized_timing_cache.startswith(TIMING_MAGIC):
            self._logger.log(Severity.ERROR, "the timing cache is not one")
            return None
        return ITimingCache(json.loads(serialized_timing_cache[len(TIMING_MAGIC) :].decode()))

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        self._cache = cache
        return ignore_mismatch or bool(cache._known["tensorrt"] == VERSION)


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    num_DLA_cores = property(lambda self: int(os.environ.get("STANDIN_DLA_CORES", "0")))  # noqa: N815

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig(self._logger)

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        shapes = {name for profile in config._profiles for name in profile._shapes}
        if any(-1 in entry.shape and entry.name not in shapes for entry in network._inputs):
            message = "Network has dynamic or shape inputs, but no optimization profile has been defined."
            self._logger.log(Severity.ERROR, "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (%s)" % message)
            return None
        known: list[str] = config._cache._known["layers"] if config._cache else []
        note({"pid": os.getpid(), "timed": len(known)})
        monitor = getattr(config, "progress_monitor", None)
        if monitor is not None:
            monitor.phase_start("Building engine", None, 2)
        wait(lambda: monitor is None or monitor.step_complete("Building engine", 0))
        if monitor is not None:
            monitor.step_complete("Building engine", 1)
            monitor.phase_finish("Building engine")
        if os.environ.get("STANDIN_FAIL"):
            self._logger.log(Severity.ERROR, os.environ["STANDIN_FAIL"])
            return None
        known += [layer.name for layer in network._layers if layer.name not in known]
        strong = not WEAK or (STRONG and bool(network._flags & 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        layers = [layer for layer in network._layers if WEAK and getattr(layer, "precision", None) == DataType.FLOAT]
        told = {
            "tensorrt": VERSION,
            "precision": sorted(config._flags & {"FP16", "INT8"}),
            "typing": "strong" if strong else "weak",
            "dla_core": None if config.default_device_type == DeviceType.GPU else config.DLA_core,
            "flags": sorted(config._flags),
            "float32": sorted(layer.name for layer in layers if layer._types == {0: DataType.FLOAT}),
            "workspace_bytes": config._pools.get(MemoryPoolType.WORKSPACE),
            "detailed": config.profiling_verbosity == ProfilingVerbosity.DETAILED,
        }
        return IHostMemory(
            MAGIC + json.dumps(told).encode() + b"\n" + network._data + bytes(int(os.environ.get("STANDIN_ENGINE_MIB", "0")) << 20)
        )


def note(line: dict[str, Any]) -> None:
    if os.environ.get("STANDIN_JOURNAL"):
        with open(os.environ["STANDIN_JOURNAL"], "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def wait(step: Callable[[], Any]) -> None:
    """Come to the middle of a build: die there, or wait until the gate is open."""
    if os.environ.get("STANDIN_KILL"):
        os.kill(os.getpid(), int(os.environ["STANDIN_KILL"]))
    while os.environ.get("STANDIN_GATE") and not os.path.exists(os.environ["STANDIN_GATE"]):
        step()
        time.sleep(0.02)
