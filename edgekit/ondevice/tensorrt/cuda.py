"""The little of CUDA that running an engine takes: memory on both sides, one stream, events.

Over pycuda, over NVIDIA's cuda-bindings, or, where neither is there, over the driver's own library. Used by the runner. The context is
the device's primary one, which TensorRT itself uses (CUDA driver API, "Primary Context Management"). Arrays are numpy's, addresses are
numbers, times nanoseconds. What the driver refuses is an `AgentError`. Not proven on hardware.
"""

from __future__ import annotations

import abc
import atexit
import contextlib
import ctypes
import functools
import importlib
import math
from typing import TYPE_CHECKING, Any, Callable, Iterator

from ..wire import AgentError
from . import libcuda

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Cuda", "open_cuda"]

NO_GPU = "see on the board: nvidia-smi; on a Jetson the user must be in the group video"
NS_PER_MS = 1e6


class Cuda(abc.ABC):
    """A stream of the first device; what is queued runs in order. ``name`` is the package's, ``stream`` CUDA's own handle."""

    name: str
    stream: int

    @abc.abstractmethod
    def pinned(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Return an array in page-locked host memory: only from there a copy runs asynchronously."""

    @abc.abstractmethod
    def reserve(self, size_bytes: int) -> int:
        """Return the address of device memory that is kept as long as this object."""

    @abc.abstractmethod
    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Queue a copy to the device."""

    @abc.abstractmethod
    def download(self, array: NDArray[Any], address: int) -> None:
        """Queue a copy from the device."""

    @abc.abstractmethod
    def event(self) -> Any:
        """Return a mark that is not yet in the stream."""

    @abc.abstractmethod
    def record(self, event: Any) -> None:
        """Queue a mark."""

    @abc.abstractmethod
    def elapsed_ns(self, start: Any, end: Any) -> int:
        """Return the time between two marks that were passed; its resolution is about 500 ns (CUDA driver API, cuEventElapsedTime)."""

    @abc.abstractmethod
    def synchronize(self) -> None:
        """Wait until all that is queued is done."""

    @abc.abstractmethod
    def free_bytes(self) -> int:
        """Return how much device memory is free; on a Jetson this is the board's own memory, and others take of it too."""

    def graph(self, _work: Callable[[], None]) -> Callable[[], None]:
        """Return what queues, at once, all that ``work`` queues one by one."""
        text = "%s records no CUDA graphs here; cuda-bindings does" % self.name
        raise AgentError("usage", text, "leave --cuda-graph out; or on the board: pip install cuda-bindings, and uninstall pycuda")


def open_cuda() -> Cuda:
    """Return a new stream, by the first package that is there; refuse a board where none reaches a GPU."""
    return _backend()()


@functools.lru_cache(maxsize=None)
def _backend() -> Callable[[], Cuda]:
    """Start CUDA once for the process."""
    missing = []
    for name, start in (("pycuda.driver", _pycuda), ("cuda.bindings.driver", _bindings), ("cuda.cuda", _bindings)):
        try:
            module = importlib.import_module(name)
        except ImportError as error:  # the package, or the driver's library that it is linked to
            missing.append("%s (%s)" % (name, error))
        else:
            return start(module)
    try:
        return _bindings(libcuda.Driver())
    except OSError as error:
        text = "Python does not reach CUDA: %s; no %s" % (error, ", no ".join(missing))
        raise AgentError("runtime-missing", text, NO_GPU) from error


def _pycuda(driver: Any) -> Callable[[], Cuda]:
    try:
        driver.init()
        context = driver.Device(0).retain_primary_context()
        context.push()
    except driver.Error as error:
        raise AgentError("runtime-failed", "pycuda finds no GPU that works: %s" % error, NO_GPU) from error
    atexit.register(context.pop)  # pycuda aborts a process that ends with a context on its stack (pycuda/autoinit.py does the same)
    return functools.partial(_PyCuda, driver)


class _PyCuda(Cuda):
    """PyCUDA documentation, "Device Interface"."""

    name = "pycuda"

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._kept: list[Any] = []
        with _translated(self._driver):
            self._stream = driver.Stream()
        self.stream = self._stream.handle

    def pinned(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        with _translated(self._driver):
            array: NDArray[Any] = self._driver.pagelocked_empty(shape, dtype)
        return array

    def reserve(self, size_bytes: int) -> int:
        with _translated(self._driver):
            self._kept.append(self._driver.mem_alloc(size_bytes))
        return int(self._kept[-1])

    def upload(self, address: int, array: NDArray[Any]) -> None:
        with _translated(self._driver):
            self._driver.memcpy_htod_async(address, array, self._stream)

    def download(self, array: NDArray[Any], address: int) -> None:
        with _translated(self._driver):
            self._driver.memcpy_dtoh_async(array, address, self._stream)

    def event(self) -> Any:
        with _translated(self._driver):
            return self._driver.Event()

    def record(self, event: Any) -> None:
        with _translated(self._driver):
            event.record(self._stream)

    def elapsed_ns(self, start: Any, end: Any) -> int:
        with _translated(self._driver):
            return round(float(end.time_since(start)) * NS_PER_MS)

    def synchronize(self) -> None:
        with _translated(self._driver):
            self._stream.synchronize()

    def free_bytes(self) -> int:
        with _translated(self._driver):
            return int(self._driver.mem_get_info()[0])


@contextlib.contextmanager
def _translated(driver: Any) -> Iterator[None]:
    """Make an `AgentError` of what pycuda raises."""
    try:
        yield
    except driver.Error as error:
        raise _refusal("pycuda", str(error), isinstance(error, driver.MemoryError)) from error


def _refusal(name: str, said: str, memory: bool) -> AgentError:
    fix = "end other programs that use the GPU; on a Jetson it shares the board's memory" if memory else None
    return AgentError("runtime-failed", "%s: %s" % (name, said), fix)


def _bindings(driver: Any) -> Callable[[], Cuda]:
    try:
        _ask(driver, driver.cuInit(0))
        _ask(driver, driver.cuCtxSetCurrent(_ask(driver, driver.cuDevicePrimaryCtxRetain(_ask(driver, driver.cuDeviceGet(0))))))
    except (RuntimeError, OSError, AgentError) as error:  # without the driver's library the first call raises
        raise AgentError("runtime-failed", "%s finds no GPU that works: %s" % (_name(driver), error), NO_GPU) from error
    return functools.partial(_Bindings, driver)


def _name(driver: Any) -> str:
    return "libcuda" if isinstance(driver, libcuda.Driver) else "cuda-bindings"


def _ask(driver: Any, answer: tuple[Any, ...]) -> Any:
    """Return what a call returned beside its status, or refuse (CUDA Python documentation, "Error handling")."""
    status, *values = answer
    results = driver.CUresult
    if status != results.CUDA_SUCCESS:
        said = driver.cuGetErrorString(status)[1]
        text = "%s: %s" % (getattr(status, "name", status), said.decode("utf-8", "replace") if isinstance(said, bytes) else said)
        raise _refusal(_name(driver), text, status == results.CUDA_ERROR_OUT_OF_MEMORY)
    return values[0] if len(values) == 1 else values


class _Bindings(Cuda):
    """CUDA Python documentation, "driver": CUDA's own functions, which return a status and their results."""

    def __init__(self, driver: Any) -> None:
        self._driver, self.name = driver, _name(driver)
        self._stream = self._ask(driver.cuStreamCreate(0))
        self.stream = int(self._stream)

    def _ask(self, answer: tuple[Any, ...]) -> Any:
        return _ask(self._driver, answer)

    def pinned(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        import numpy as np

        size = max(1, math.prod(shape) * np.dtype(dtype).itemsize)
        memory = (ctypes.c_uint8 * size).from_address(int(self._ask(self._driver.cuMemAllocHost(size))))
        array: NDArray[Any] = np.ctypeslib.as_array(memory)[: math.prod(shape) * np.dtype(dtype).itemsize].view(dtype).reshape(shape)
        return array

    def reserve(self, size_bytes: int) -> int:
        return int(self._ask(self._driver.cuMemAlloc(size_bytes)))

    def upload(self, address: int, array: NDArray[Any]) -> None:
        self._ask(self._driver.cuMemcpyHtoDAsync(address, array.ctypes.data, array.nbytes, self._stream))

    def download(self, array: NDArray[Any], address: int) -> None:
        self._ask(self._driver.cuMemcpyDtoHAsync(array.ctypes.data, address, array.nbytes, self._stream))

    def event(self) -> Any:
        return self._ask(self._driver.cuEventCreate(0))

    def record(self, event: Any) -> None:
        self._ask(self._driver.cuEventRecord(event, self._stream))

    def elapsed_ns(self, start: Any, end: Any) -> int:
        return round(float(self._ask(self._driver.cuEventElapsedTime(start, end))) * NS_PER_MS)

    def synchronize(self) -> None:
        self._ask(self._driver.cuStreamSynchronize(self._stream))

    def free_bytes(self) -> int:
        return int(self._ask(self._driver.cuMemGetInfo())[0])

    def graph(self, work: Callable[[], None]) -> Callable[[], None]:
        driver = self._driver
        if not hasattr(driver, "cuStreamBeginCapture"):
            return super().graph(work)
        self._ask(driver.cuStreamBeginCapture(self._stream, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
        try:
            work()
        finally:
            recorded = self._ask(driver.cuStreamEndCapture(self._stream))
        # CUDA 11 and 12 have the name with flags; 12 gave the plain name its flags, and 13 keeps that alone.
        instantiate = getattr(driver, "cuGraphInstantiateWithFlags", None) or driver.cuGraphInstantiate
        graph = self._ask(instantiate(recorded, 0))
        return lambda: self._ask(driver.cuGraphLaunch(graph, self._stream))
