"""A double of cuda.bindings.driver, for tests: the names that edgekit uses, over the doubles' common GPU (`standin_gpu`).

Names and signatures are those of cuda-bindings 13; the bodies are ours. Every function returns its status first.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import standin_gpu as gpu

pinned: list[Any] = []


class CUresult(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NOT_READY = 600
    CUDA_ERROR_ILLEGAL_ADDRESS = 700


class CUstreamCaptureMode(enum.IntEnum):
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1


OK = CUresult.CUDA_SUCCESS


def cuGetErrorString(error: CUresult) -> tuple[Any, ...]:  # noqa: N802  # CUDA's names
    return OK, error.name.lower().encode("ascii")


def cuInit(Flags: int) -> tuple[Any, ...]:  # noqa: N802, N803
    return (OK,)


def cuDeviceGet(ordinal: int) -> tuple[Any, ...]:  # noqa: N802
    return OK, ordinal


def cuDevicePrimaryCtxRetain(dev: int) -> tuple[Any, ...]:  # noqa: N802
    return OK, object()


def cuCtxSetCurrent(ctx: Any) -> tuple[Any, ...]:  # noqa: N802
    return (OK,)


def cuStreamCreate(Flags: int) -> tuple[Any, ...]:  # noqa: N802, N803
    return OK, gpu.stream()


def cuStreamSynchronize(hStream: int) -> tuple[Any, ...]:  # noqa: N802, N803
    try:
        gpu.synchronize(hStream)
    except ValueError:
        return (CUresult.CUDA_ERROR_ILLEGAL_ADDRESS,)
    return (OK,)


def cuMemAllocHost(bytesize: int) -> tuple[Any, ...]:  # noqa: N802
    pinned.append(np.empty(bytesize, np.uint8))
    return OK, pinned[-1].ctypes.data


def cuMemAlloc(bytesize: int) -> tuple[Any, ...]:  # noqa: N802
    try:
        return OK, gpu.allocate(bytesize)
    except gpu.OutOfMemoryError:
        return CUresult.CUDA_ERROR_OUT_OF_MEMORY, None


def cuMemGetInfo() -> tuple[Any, ...]:  # noqa: N802
    return OK, gpu.free(), gpu.FREE_BYTES


def cuMemcpyHtoDAsync(dstDevice: int, srcHost: int, ByteCount: int, hStream: int) -> tuple[Any, ...]:  # noqa: N802, N803
    gpu.upload(hStream, dstDevice, srcHost, ByteCount)
    return (OK,)


def cuMemcpyDtoHAsync(dstHost: int, srcDevice: int, ByteCount: int, hStream: int) -> tuple[Any, ...]:  # noqa: N802, N803
    gpu.download(hStream, dstHost, srcDevice, ByteCount)
    return (OK,)


def cuEventCreate(Flags: int) -> tuple[Any, ...]:  # noqa: N802, N803
    return OK, gpu.Event()


def cuEventRecord(hEvent: Any, hStream: int) -> tuple[Any, ...]:  # noqa: N802, N803
    hEvent.queue(hStream)
    return (OK,)


def cuEventElapsedTime(hStart: Any, hEnd: Any) -> tuple[Any, ...]:  # noqa: N802, N803
    try:
        return OK, gpu.elapsed_ms(hStart, hEnd)
    except ValueError:
        return CUresult.CUDA_ERROR_NOT_READY, None


def cuStreamBeginCapture(hStream: int, mode: CUstreamCaptureMode) -> tuple[Any, ...]:  # noqa: N802, N803
    gpu.captured[hStream] = []
    return (OK,)


def cuStreamEndCapture(hStream: int) -> tuple[Any, ...]:  # noqa: N802, N803
    return OK, gpu.captured.pop(hStream)


def cuGraphInstantiate(hGraph: Any, flags: int) -> tuple[Any, ...]:  # noqa: N802, N803
    return OK, tuple(hGraph)


def cuGraphLaunch(hGraphExec: Any, hStream: int) -> tuple[Any, ...]:  # noqa: N802, N803
    for work in hGraphExec:
        gpu.queue(hStream, work)
    return (OK,)
