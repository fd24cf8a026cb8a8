"""The state of the board that decides whether a measurement is valid: temperatures, clocks, throttling, load.

Read before and after a probe, and by `facts`. A sensor that cannot be read is left out: some zones of a healthy board never can.
"""

from __future__ import annotations

import glob
import os
import re
import subprocess
import time
from typing import Any


def read_text(path: str) -> str | None:
    """Return a small text of the kernel's, without the NUL that ends a device-tree property; None when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace").strip("\0 \n\t")
    except OSError:
        return None


def _number(path: str) -> float | None:
    try:
        return float(read_text(path) or "")
    except ValueError:
        return None


def temperatures(top: str = "/") -> dict[str, float]:
    """Return thermal zone -> degrees Celsius; zones of one type are told apart by their number. The kernel gives millidegrees."""
    found: dict[str, float] = {}
    for zone in sorted(glob.glob(os.path.join(top, "sys/class/thermal/thermal_zone*"))):
        value = _number(os.path.join(zone, "temp"))
        name = read_text(os.path.join(zone, "type")) or os.path.basename(zone)
        if value is not None:
            found["%s-%s" % (name, zone.rpartition("zone")[2]) if name in found else name] = value / 1000
    return found


def state(top: str = "/") -> dict[str, Any]:
    """Return the board's state now; clocks in MHz, one per core that has cpufreq."""
    cores = sorted(glob.glob(os.path.join(top, "sys/devices/system/cpu/cpu[0-9]*/cpufreq")), key=lambda path: int(path.split("/cpu")[-2]))
    clocks = [_number(os.path.join(core, "scaling_cur_freq")) for core in cores]
    return {
        "time": time.time(),
        "temperature_c": temperatures(top),
        "cpu_mhz": [clock / 1000 for clock in clocks if clock is not None],
        "governor": [governor for governor in (read_text(os.path.join(core, "scaling_governor")) for core in cores) if governor],
        "throttled": _throttled(),
        "load1": os.getloadavg()[0],
        "power_mode": None,
    }


def _throttled() -> str | None:
    """Return the bits of ``vcgencmd get_throttled`` as hex: 0-3 now, 16-19 since boot (Raspberry Pi documentation)."""
    try:
        answer = subprocess.run(["vcgencmd", "get_throttled"], stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):  # most boards have no such command
        return None
    found = re.search(rb"throttled=(0x[0-9a-fA-F]{1,8})", answer)
    return found.group(1).decode("ascii") if found else None
