"""The "GPU" that the doubles of pycuda, cuda-bindings and TensorRT share: host memory, and streams that really wait to be run.

A double, for tests. What is queued runs when its stream is synchronized, and not before: whoever reads too early reads what was there.

``STANDIN_GPU_FREE_MIB``: memory of the device, 4096 by default.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

FREE_BYTES = int(os.environ.get("STANDIN_GPU_FREE_MIB", "4096")) << 20

memory: dict[int, Any] = {}  # address -> what keeps it
queues: dict[int, list[Callable[[], None]]] = {}
captured: dict[int, list[Callable[[], None]]] = {}  # of streams that are being recorded
foreign = False  # a stream and memory are those of `libcuda.c`, which does all at once


class OutOfMemoryError(Exception):
    pass


def allocate(size: int) -> int:
    if size <= 0 or size > free():
        raise OutOfMemoryError("out of memory")
    array = np.full(size, 0xAB, np.uint8)
    memory[array.ctypes.data] = array
    return int(array.ctypes.data)


def free() -> int:
    return FREE_BYTES - sum(int(array.nbytes) for array in memory.values())


def release(address: int) -> None:
    del memory[address]


def at(address: int, size: int) -> Any:
    """Return the bytes at an address of the device; they must lie within one allocation."""
    for start, array in memory.items():
        if start <= address and address + size <= start + array.nbytes:
            return array[address - start : address - start + size]
    if foreign:
        return _host(address, size)
    raise ValueError("an illegal memory access was encountered")


def stream() -> int:
    handle = len(queues) + 1
    queues[handle] = []
    return handle


def queue(handle: int, work: Callable[[], None]) -> None:
    global foreign
    if handle in queues:
        captured.get(handle, queues[handle]).append(work)
    else:
        foreign = True
        work()


def synchronize(handle: int) -> None:
    work, queues[handle] = queues[handle], []
    for step in work:
        step()


def upload(handle: int, address: int, source: int, size: int) -> None:
    queue(handle, lambda: at(address, size).__setitem__(slice(None), _host(source, size)))


def download(handle: int, target: int, address: int, size: int) -> None:
    queue(handle, lambda: _host(target, size).__setitem__(slice(None), at(address, size)))


def _host(address: int, size: int) -> Any:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


class Event:
    """A mark; its time is known once its stream has passed it."""

    def __init__(self) -> None:
        self.time_ns: int | None = None

    def queue(self, handle: int) -> None:
        self.time_ns = None
        queue(handle, self._pass)

    def _pass(self) -> None:
        self.time_ns = time.perf_counter_ns()


def elapsed_ms(start: Event, end: Event) -> float:
    times: tuple[Any, Any] = (start.time_ns, end.time_ns)
    if None in times:
        raise ValueError("device not ready")
    return float(times[1] - times[0]) / 1e6
