"""A double of pycuda.driver, for tests: the names that edgekit uses, over the doubles' common GPU (`standin_gpu`).

Names and signatures are those of PyCUDA 2026.1 (src/wrapper/wrap_cudadrv.cpp); the bodies are ours. ``STANDIN_PYCUDA=none``: no device.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import standin_gpu as gpu

stack: list[Any] = []  # of contexts; PyCUDA aborts a process that ends with one on it


class Error(Exception):
    pass


class MemoryError(Error):  # noqa: A001  # its name in PyCUDA
    pass


class LogicError(Error):
    pass


class RuntimeError(Error):  # noqa: A001
    pass


def init(flags: int = 0) -> None:
    if os.environ.get("STANDIN_PYCUDA") == "none":
        raise RuntimeError("cuInit failed: no CUDA-capable device is detected")


class Context:
    def push(self) -> None:
        stack.append(self)

    @staticmethod
    def pop() -> None:
        stack.pop()


class Device:
    def __init__(self, ordinal: int) -> None:
        if ordinal != 0:
            raise LogicError("cuDeviceGet failed: invalid device ordinal")

    def retain_primary_context(self) -> Context:
        return Context()


class Stream:
    def __init__(self, flags: int = 0) -> None:
        if not stack:
            raise LogicError("cuStreamCreate failed: invalid device context")
        self.handle = gpu.stream()

    def synchronize(self) -> None:
        try:
            gpu.synchronize(self.handle)
        except ValueError as error:
            raise LogicError(f"cuStreamSynchronize failed: {error}") from error


class Event:
    def __init__(self, flags: int = 0) -> None:
        self._event = gpu.Event()

    def record(self, stream: Stream) -> Event:
        self._event.queue(stream.handle)
        return self

    def time_since(self, event: Event) -> float:
        try:
            return float(gpu.elapsed_ms(event._event, self._event))
        except ValueError as error:
            raise LogicError(f"cuEventElapsedTime failed: {error}") from error


class DeviceAllocation:
    """Memory that goes with its object, as PyCUDA's does."""

    def __init__(self, address: int) -> None:
        self._address = address

    def __int__(self) -> int:
        return self._address

    def __del__(self) -> None:
        gpu.release(self._address)


def mem_alloc(size: int) -> DeviceAllocation:
    try:
        return DeviceAllocation(gpu.allocate(size))
    except gpu.OutOfMemoryError as error:
        raise MemoryError(f"cuMemAlloc failed: {error}") from error


def mem_get_info() -> tuple[int, int]:
    return gpu.free(), gpu.FREE_BYTES


def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
    return np.empty(shape, dtype)


def memcpy_htod_async(dest: int, src: Any, stream: Stream) -> None:
    gpu.upload(stream.handle, int(dest), src.ctypes.data, src.nbytes)


def memcpy_dtoh_async(dest: Any, src: int, stream: Stream) -> None:
    gpu.download(stream.handle, dest.ctypes.data, int(src), dest.nbytes)
