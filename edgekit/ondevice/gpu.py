"""The first NVIDIA GPU, as its driver describes it (`ask`). Called by `facts`.

The driver is asked in a process of its own: a broken one may abort its process, or never answer.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from typing import Any

LIBRARY = "libcuda.so.1"
ANSWER_TIMEOUT_S = 60  # a driver that starts takes seconds
NAME_BYTES = 256
# CUdevice_attribute (CUDA Driver API, cuda.h).
COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR = 75, 76
_CODE = "import importlib, json, sys; sys.path[:] = sys.argv[2:]; print(json.dumps(importlib.import_module(sys.argv[1]).describe()))"


def ask() -> tuple[dict[str, Any] | None, str | None]:
    """Return the GPU's facts or None, and why a driver that is there does not give them."""
    command = [sys.executable, "-c", _CODE, __name__, *sys.path]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWER_TIMEOUT_S, check=False, cwd="/")
    except subprocess.TimeoutExpired:
        return None, "the NVIDIA driver did not answer within %d s" % ANSWER_TIMEOUT_S
    if done.returncode == 0:
        answer = json.loads(done.stdout.splitlines()[-1])
        return answer["gpu"], answer["error"]
    said = done.stderr.decode("utf-8", "replace").strip()[-400:]
    died = "killed by signal %d" % -done.returncode if done.returncode < 0 else "status %d" % done.returncode
    return None, "the process that asked the NVIDIA driver ended: %s %s" % (died, said)


def describe() -> dict[str, Any]:
    """Return ``gpu`` and ``error`` of this process's driver; both are None where there is no driver, or no GPU."""
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError as error:
        missing = "cannot open shared object file: No such file" in str(error)
        return {"gpu": None, "error": None if missing else str(error)}
    try:
        return {"gpu": _first(driver), "error": None}
    except OSError as error:
        return {"gpu": None, "error": str(error)}


def _first(driver: ctypes.CDLL) -> dict[str, Any] | None:
    def call(function: str, *arguments: Any) -> None:
        code = getattr(driver, function)(*arguments)
        if code:
            name = ctypes.c_char_p()
            driver.cuGetErrorName(code, ctypes.byref(name))
            raise OSError("%s of the NVIDIA driver says %s (%d)" % (function, (name.value or b"an unknown error").decode("ascii"), code))

    def integer(function: str, *arguments: Any) -> int:
        value = ctypes.c_int()
        call(function, ctypes.byref(value), *arguments)
        return value.value

    version = integer("cuDriverGetVersion")  # 1000 * major + 10 * minor; works without a GPU (CUDA Driver API, Version Management)
    call("cuInit", 0)
    if not integer("cuDeviceGetCount"):
        return None
    device, name, memory = integer("cuDeviceGet", 0), ctypes.create_string_buffer(NAME_BYTES), ctypes.c_size_t()
    call("cuDeviceGetName", name, NAME_BYTES, device)
    call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    capability = [integer("cuDeviceGetAttribute", attribute, device) for attribute in (COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR)]
    return {
        "name": name.value.decode("utf-8", "replace"),
        "compute_capability": "%d.%d" % tuple(capability),
        "cuda": "%d.%d" % (version // 1000, version % 1000 // 10),
        "memory_total_bytes": memory.value,
    }
