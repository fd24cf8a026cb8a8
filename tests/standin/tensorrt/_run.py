"""A double of TensorRT's runtime, for tests: opens the engines of `_build` and runs the ONNX inside with onnxruntime. Not NVIDIA's.

An engine is ``STANDIN-ENGINE``, a line of JSON and the network's bytes. Names and signatures are those of TensorRT 8.5 to 11; the bodies
are ours. Tensors lie at addresses of the doubles' common GPU (`standin_gpu`), and nothing runs before its stream is synchronized.

``STANDIN_TENSORRT_VERSION``: engines of others are refused. ``STANDIN_INVOKE_US``: JSON of precision flags, as ``{"FP16+INT8": 300}``, to
how long a run takes longer.
"""

from __future__ import annotations

import enum
import json
import os
import sys
import time
from typing import Any

import numpy as np
import standin_gpu as gpu

VERSION = os.environ.get("STANDIN_TENSORRT_VERSION", "10.3.0")
MAGIC = b"STANDIN-ENGINE\n"


class TensorIOMode(enum.IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class LayerInformationFormat(enum.IntEnum):
    ONELINE = 0
    JSON = 1


ORT_TYPES = {"float": "FLOAT", "float16": "HALF", "int8": "INT8", "uint8": "UINT8", "int32": "INT32", "int64": "INT64", "bool": "BOOL"}
NUMPY = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "UINT8": "uint8", "INT32": "int32", "INT64": "int64", "BOOL": "bool"}


def init_libnvinfer_plugins(logger: Any, namespace: str) -> bool:
    return True


class Runtime:
    """Opens an engine for a DLA only on the core it was built for, so that a test sees whether the core was set."""

    DLA_core = 0

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        data = bytes(serialized_engine)
        said = None
        if not data.startswith(MAGIC):
            said = (
                "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion magicTagRead == kMAGIC_TAG failed.)"
            )
        else:
            header, _, onnx = data[len(MAGIC) :].partition(b"\n")
            built = json.loads(header)
            if built["tensorrt"] != VERSION:
                said = "The engine plan file is not compatible with this version of TensorRT, "
                said += f"expecting library version {VERSION} got {built['tensorrt']}, please rebuild."
            elif built["dla_core"] not in (None, self.DLA_core):
                said = f"an engine for DLA core {built['dla_core']} is opened on core {self.DLA_core}"
        if said is not None:
            self._logger.log(1, said)
            return None
        return ICudaEngine(built, onnx, self._logger)


class ICudaEngine:
    def __init__(self, header: dict[str, Any], onnx: bytes, logger: Any) -> None:
        import onnxruntime

        self.header, self.logger = header, logger
        self._onnx = onnx
        self.memory = gpu.allocate(len(onnx))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        # As the graph says: TensorRT computes in int8 only what stands between Q/DQ.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        self.ins, self.outs = self.session.get_inputs(), self.session.get_outputs()
        self._all = {entry.name: entry for entry in [*self.ins, *self.outs]}

    def __del__(self) -> None:
        if hasattr(self, "memory"):
            gpu.release(self.memory)

    @property
    def num_io_tensors(self) -> int:
        return len(self._all)

    def get_tensor_name(self, index: int) -> str:
        return str(list(self._all)[index])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in [entry.name for entry in self.ins] else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> Any:
        return tuple(size if isinstance(size, int) else -1 for size in self._all[name].shape)

    def get_tensor_dtype(self, name: str) -> Any:
        return sys.modules[__package__].DataType[ORT_TYPES[self._all[name].type[len("tensor(") : -1]]]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Any]:
        """Every open dimension of a double's engine is 1, 1, 1."""
        return [tuple(abs(size) for size in self.get_tensor_shape(name))] * 3

    def create_execution_context(self) -> IExecutionContext:
        return IExecutionContext(self)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self._onnx)


class IProfiler:
    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError


class IExecutionContext:
    """With a profiler, each node is said to have taken the same part of a run."""

    def __init__(self, engine: ICudaEngine) -> None:
        self.engine = engine
        self.profiler: IProfiler | None = None
        self._addresses: dict[str, int] = {}
        self._shapes = {name: engine.get_tensor_shape(name) for name in engine._all}
        slower = json.loads(os.environ.get("STANDIN_INVOKE_US", "{}"))
        self._extra_s = slower.get("+".join(sorted(engine.header["precision"])), 0) / 1e6

    def set_input_shape(self, name: str, shape: Any) -> bool:
        self._shapes[name] = tuple(shape)
        for output in self.engine.outs:
            self._shapes[output.name] = tuple(abs(size) for size in self._shapes[output.name])
        return True

    def get_tensor_shape(self, name: str) -> Any:
        return self._shapes[name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return name in self._shapes

    def execute_async_v3(self, stream_handle: int) -> bool:
        if set(self._addresses) != set(self._shapes) or any(-1 in shape for shape in self._shapes.values()):
            self.engine.logger.log(1, "IExecutionContext::enqueueV3: Error Code 3: API Usage Error (an address or a shape is not set)")
            return False
        gpu.queue(stream_handle, self._run)
        return True

    def _tensor(self, name: str) -> Any:
        dtype, shape = NUMPY[self.engine.get_tensor_dtype(name).name], self._shapes[name]
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return gpu.at(self._addresses[name], size).view(dtype).reshape(shape)

    def _run(self) -> None:
        until = time.perf_counter() + self._extra_s
        outputs = self.engine.session.run(None, {entry.name: self._tensor(entry.name) for entry in self.engine.ins})
        for index, entry in enumerate(self.engine.outs):
            self._tensor(entry.name)[...] = outputs[index]
        while time.perf_counter() < until:
            pass
        if self.profiler is not None:
            layers = json.loads(self.engine.create_engine_inspector().get_engine_information(LayerInformationFormat.JSON))["Layers"]
            for layer in layers:
                self.profiler.report_layer_time(layer["Name"], 0.25)


class EngineInspector:
    """Tells of one layer for each node, in the form of TensorRT 10; its types are those of the doubles, not of any fusion."""

    def __init__(self, onnx: bytes) -> None:
        self._onnx = onnx

    def get_engine_information(self, format: LayerInformationFormat) -> str:  # noqa: A002  # its name in TensorRT
        import onnx

        model = onnx.load_model_from_string(self._onnx)
        names = {"QuantizeLinear": "Quantize", "DequantizeLinear": "Dequantize", "Conv": "CaskConvolution", "Cast": "Cast"}
        tensors = [{"Format/Datatype": "Float"}]
        layers = [
            {"Name": node.name, "LayerType": names.get(node.op_type, node.op_type), "Inputs": tensors, "Outputs": tensors}
            for node in model.graph.node
        ]
        return json.dumps({"Layers": layers, "Bindings": [entry.name for entry in [*model.graph.input, *model.graph.output]]})
