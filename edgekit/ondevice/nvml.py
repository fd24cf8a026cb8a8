"""Clock and throttling of the NVIDIA GPU of a PC or a server, by the driver's management library. Called by `board`; Jetsons have devfreq.

Not proven on hardware. Numbers and names: NVIDIA Management Library, nvml.h.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
CLOCK_SM = 1
# nvmlClocksThrottleReason*: those that are no choice of the user's, nor idleness.
REASONS = {
    0x04: "the GPU's power limit",
    0x08: "the GPU's hardware slowdown",
    0x20: "the GPU's temperature, by the driver",
    0x40: "the GPU's temperature, by its hardware",
    0x80: "the GPU's power brake",
}


def clock() -> tuple[dict[str, Any] | None, list[str]]:
    """Return the GPU's clock as `sensor.gpu_clock` does, and what slows it down now; nothing where there is not exactly one such GPU."""
    found = _open()
    if found is None:
        return None, []
    library, device = found
    now, highest, reasons = ctypes.c_uint(), ctypes.c_uint(), ctypes.c_ulonglong()
    failed = library.nvmlDeviceGetClockInfo(device, CLOCK_SM, ctypes.byref(now))
    failed = failed or library.nvmlDeviceGetMaxClockInfo(device, CLOCK_SM, ctypes.byref(highest))
    gpu = None if failed else {"mhz": float(now.value), "min_mhz": 0.0, "max_mhz": float(highest.value), "governor": "the driver"}
    if library.nvmlDeviceGetCurrentClocksThrottleReasons(device, ctypes.byref(reasons)):
        return gpu, []
    return gpu, [text for bit, text in REASONS.items() if reasons.value & bit]


@lru_cache(maxsize=None)
def _open() -> tuple[ctypes.CDLL, ctypes.c_void_p] | None:
    """Open the library once a process: starting it takes so long that a clock would have fallen meanwhile."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    # Of several GPUs CUDA's first need not be the first here.
    count, device = ctypes.c_uint(), ctypes.c_void_p()
    if library.nvmlInit_v2() or library.nvmlDeviceGetCount_v2(ctypes.byref(count)) or count.value != 1:
        return None
    return None if library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)) else (library, device)
