"""A TensorRT engine, opened: named tensors, pinned memory, one stream.

Called by `edgekit.ondevice.runner` and by the race. Written after TensorRT's documentation ("Performing Inference", "CUDA Graphs"); not
proven on hardware. The runtime is the system's: an engine runs only in the release of TensorRT that built it.
"""

from __future__ import annotations

import atexit
import re
import time
from typing import Any

from ..inputs import encode
from ..runner import Runner
from ..runtimes import import_runtime
from ..samples import Sample
from ..wire import AgentError
from .adapter import load, logger, said_of
from .cuda import open_cuda

# How numpy spells TensorRT's types. Its own `nptype` needs a name that numpy removed in 1.24 (TensorRT 8.5, python/tensorrt/__init__.py).
DTYPES = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "UINT8": "uint8", "INT32": "int32", "INT64": "int64", "BOOL": "bool"}
# What deserialisation says of a plan of another release or another GPU; wordings of 8.5 to 10.
FOREIGN = re.compile(r"not compatible with this version|incompatible device|[Vv]ersion tag|stdVersionRead|rebuild|Platform specific tag")


class TensorRtRunner(Runner):
    """``invoke`` is what an application waits for: copies in, compute, copies out, and the wait for the stream's end."""

    delegate = None

    def __init__(self, root: str, plan: str, dla_core: int | None, graph: bool = False) -> None:
        """Open a plan, on a DLA core where it is for one; ``graph`` launches its layers as one CUDA graph."""
        self.runtime, trt = import_runtime(root, "tensorrt")
        self.runtime["version"] = load(trt)
        self._cuda, self._log, self._launch = open_cuda(), logger(trt), self._enqueue
        self._marks = [self._cuda.event() for _ in range(4)]
        with open(plan, "rb") as file:
            data = file.read()
        free_before = self._cuda.free_bytes()
        started = time.perf_counter_ns()
        trt.init_libnvinfer_plugins(self._log, "")  # the parser makes plugins of some operators, and their engines need them
        self._opener = trt.Runtime(self._log)
        if dla_core is not None:
            self._opener.DLA_core = dla_core
        self._engine = self._opener.deserialize_cuda_engine(data)
        if self._engine is None:
            raise AgentError("runtime-failed", _refused(plan, self.runtime["version"], said_of(self._log.errors)))
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise AgentError("runtime-failed", "TensorRT has no room to run %s: %s" % (plan, said_of(self._log.errors)))
        atexit.register(self._close)  # before CUDA's own end, which `open_cuda` registered first
        self._bind(trt, self._engine, plan)
        self.load_ns = time.perf_counter_ns() - started
        if graph:
            self.invoke()  # the first run may still set things up, which no graph can hold
            self._launch = self._cuda.graph(self._enqueue)
        self.gpu_memory_bytes = max(0, free_before - self._cuda.free_bytes())

    def _bind(self, trt: Any, engine: Any, plan: str) -> None:
        """Fix the shapes, and give every tensor memory on both sides."""
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        ins = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        outs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
        self.check(plan, ins, outs)
        for name in ins:
            if -1 in tuple(engine.get_tensor_shape(name)):
                likeliest = engine.get_tensor_profile_shape(name, 0)[1]
                self._do(self._context.set_input_shape(name, tuple(likeliest)), "the shape %s of %s" % (tuple(likeliest), name))
        tables = {name: _describe(name, engine.get_tensor_dtype(name), tuple(self._context.get_tensor_shape(name))) for name in names}
        self.inputs, self.outputs = ([tables[name] for name in names] for names in (ins, outs))
        arrays = {name: self._cuda.pinned(tuple(table["shape"]), table["dtype"]) for name, table in tables.items()}
        addresses = {name: self._cuda.reserve(array.nbytes) for name, array in arrays.items()}
        for name, address in addresses.items():
            self._do(self._context.set_tensor_address(name, address), "the address of %s" % name)
        self._ins = [(addresses[name], arrays[name]) for name in ins]
        self._outs = [(arrays[name], addresses[name]) for name in outs]

    def _close(self) -> None:
        """Let go of what lives on the GPU, users before what they use: at the end of a process Python keeps no order."""
        del self._launch, self._context, self._engine, self._opener, self._marks, self._cuda

    def close(self) -> None:
        atexit.unregister(self._close)
        self._close()

    def _do(self, done: bool, what: str) -> None:
        if not done:
            raise AgentError("runtime-failed", "TensorRT refuses %s: %s" % (what, said_of(self._log.errors) or "it does not say why"))

    def _enqueue(self) -> None:
        self._do(self._context.execute_async_v3(self._cuda.stream), "to run the engine")

    def set(self, sample: Sample) -> None:
        for (_, array), value in zip(self._ins, encode(self.inputs, sample)):
            array[...] = value

    def invoke(self) -> None:
        cuda, (start, copied, computed, end) = self._cuda, self._marks
        cuda.record(start)
        for address, array in self._ins:
            cuda.upload(address, array)
        cuda.record(copied)
        self._launch()
        cuda.record(computed)
        for array, address in self._outs:
            cuda.download(array, address)
        cuda.record(end)
        cuda.synchronize()

    def get(self, place: int = 0) -> Any:
        return self._outs[place][0].copy()

    def parts_ns(self) -> dict[str, int]:
        """Return how long the parts of the last `invoke` took on the device, between CUDA events."""
        times = [self._cuda.elapsed_ns(before, after) for before, after in zip(self._marks, self._marks[1:])]
        return dict(zip(("h2d", "compute", "d2h"), times))


def _refused(plan: str, version: str, said: str) -> str:
    foreign = "%s is an engine of another TensorRT or another GPU, and TensorRT %s does not load it; build it again on this board: %s"
    return (foreign if FOREIGN.search(said) else "%s is not loaded by TensorRT %s: %s") % (plan, version, said or "it does not say why")


def _describe(name: str, dtype: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    if dtype.name not in DTYPES or min(shape, default=1) < 1:
        raise AgentError("input", "%s is %s of shape %s, and only %s of fixed sizes are run" % (name, dtype.name, shape, ", ".join(DTYPES)))
    return {"name": name, "dtype": DTYPES[dtype.name], "scale": None, "zero_point": None, "shape": list(shape)}
