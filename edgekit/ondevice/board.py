"""The state of the board that decides whether a measurement is valid: temperatures, clocks, throttling, power, load.

Asked by `edgekit.ondevice.sampler`.
"""

from __future__ import annotations

import glob
import os
import re
import subprocess
import time
from typing import Any

from . import nvml, sensor
from .jetson import power_mode


def state(top: str = "/") -> dict[str, Any]:
    """Return the board's state now; CPU clocks in MHz, one per core that has cpufreq."""
    # First: it falls soon after the work ends.
    gpu, alarms = sensor.gpu_clock(top), sensor.alarms(top)
    if gpu is None and top == "/":
        gpu, reasons = nvml.clock()
        alarms += reasons
    cores = sorted(glob.glob(os.path.join(top, "sys/devices/system/cpu/cpu[0-9]*/cpufreq")), key=lambda path: int(path.split("/cpu")[-2]))
    clocks = [sensor.read_number(os.path.join(core, "scaling_cur_freq")) for core in cores]
    governors = [sensor.read_text(os.path.join(core, "scaling_governor")) for core in cores]
    return {
        "time": time.time(),
        "temperature_c": sensor.temperatures(top),
        "power_w": sensor.rails(top),
        "cpu_mhz": [clock / 1000 for clock in clocks if clock is not None],
        "governor": [governor for governor in governors if governor],
        "gpu": gpu,
        "throttle_events": sensor.throttle_events(top),
        "alarms": alarms,
        "throttled": _throttled(),
        "load1": os.getloadavg()[0],
        "power_mode": power_mode(top),
    }


def _throttled() -> str | None:
    """Return the bits of ``vcgencmd get_throttled`` as hex: 0-3 now, 16-19 since boot (Raspberry Pi documentation)."""
    try:
        answer = subprocess.run(["vcgencmd", "get_throttled"], stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):  # most boards have no such command
        return None
    found = re.search(rb"throttled=(0x[0-9a-fA-F]{1,8})", answer)
    return found.group(1).decode("ascii") if found else None
