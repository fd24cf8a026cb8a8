"""NVIDIA's driver library itself, through ctypes: for a board whose Python has neither pycuda nor cuda-bindings. Used by `cuda`.

`Driver` answers as the module cuda.bindings.driver does: the status first, then what the function gives. Signatures are those of cuda.h
(CUDA 13.0); a symbol ending in ``_v2`` is what the header's macro of the plain name stands for. Not proven on hardware.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, Callable

from ..gpu import LIBRARY

__all__ = ["Driver"]

HANDLE, ADDRESS, SIZE, POINTER = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p
FLAGS, ORDINAL = ctypes.c_uint, ctypes.c_int
# Name -> the library's symbol, what it gives (its first arguments, by reference), what it takes.
FUNCTIONS = {
    "cuInit": ("cuInit", (), (FLAGS,)),
    "cuDeviceGet": ("cuDeviceGet", (ORDINAL,), (ORDINAL,)),
    "cuDevicePrimaryCtxRetain": ("cuDevicePrimaryCtxRetain", (HANDLE,), (ORDINAL,)),
    "cuCtxSetCurrent": ("cuCtxSetCurrent", (), (HANDLE,)),
    "cuStreamCreate": ("cuStreamCreate", (HANDLE,), (FLAGS,)),
    "cuStreamSynchronize": ("cuStreamSynchronize", (), (HANDLE,)),
    "cuMemAllocHost": ("cuMemAllocHost_v2", (POINTER,), (SIZE,)),
    "cuMemAlloc": ("cuMemAlloc_v2", (ADDRESS,), (SIZE,)),
    "cuMemGetInfo": ("cuMemGetInfo_v2", (SIZE, SIZE), ()),
    "cuMemcpyHtoDAsync": ("cuMemcpyHtoDAsync_v2", (), (ADDRESS, POINTER, SIZE, HANDLE)),
    "cuMemcpyDtoHAsync": ("cuMemcpyDtoHAsync_v2", (), (POINTER, ADDRESS, SIZE, HANDLE)),
    "cuEventCreate": ("cuEventCreate", (HANDLE,), (FLAGS,)),
    "cuEventRecord": ("cuEventRecord", (), (HANDLE, HANDLE)),
    "cuEventElapsedTime": ("cuEventElapsedTime", (ctypes.c_float,), (HANDLE, HANDLE)),
}  # type: dict[str, tuple[str, tuple[Any, ...], tuple[Any, ...]]]


class Driver:
    """The driver's functions as attributes; without the library it raises `OSError`."""

    class CUresult:  # noqa: D106
        CUDA_SUCCESS, CUDA_ERROR_OUT_OF_MEMORY = 0, 2

    def __init__(self) -> None:
        self._library = ctypes.CDLL(LIBRARY)

    def __getattr__(self, name: str) -> Callable[..., tuple[Any, ...]]:
        if name not in FUNCTIONS:
            raise AttributeError(name)
        return functools.partial(self._call, *FUNCTIONS[name])

    def _call(self, symbol: str, gives: tuple[Any, ...], takes: tuple[Any, ...], *arguments: Any) -> tuple[Any, ...]:
        results = [kind() for kind in gives]
        given = [kind(argument) for kind, argument in zip(takes, arguments)]
        status = getattr(self._library, symbol)(*(ctypes.byref(result) for result in results), *given)
        return (status, *(result.value for result in results))

    def cuGetErrorString(self, error: int) -> tuple[int, bytes]:  # noqa: N802  # NVIDIA's name
        """Return what a status means; the one function that takes before it gives."""
        text = ctypes.c_char_p()
        status: int = self._library.cuGetErrorString(error, ctypes.byref(text))
        return status, text.value or b"an unknown error"
