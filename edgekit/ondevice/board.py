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
        "power_w": power(top),
        "cpu_mhz": [clock / 1000 for clock in clocks if clock is not None],
        "governor": [governor for governor in governors if governor],
        "gpu": gpu,
        "throttle_events": sensor.throttle_events(top),
        "alarms": alarms,
        "throttled": _throttled(),
        "load1": os.getloadavg()[0],
        "power_mode": power_mode(top),
    }


def power(top: str = "/") -> dict[str, float]:
    """Return power rail -> watts: those of the kernel's sensors, and those of a Raspberry Pi 5's power chip.

    ``vcgencmd pmic_read_adc`` says ``VDD_CORE_A current(7)=1.2A`` and ``VDD_CORE_V volt(15)=0.75V``; the 5 V that come in have no current
    there (Raspberry Pi Ltd, "Extra PMIC features on Raspberry Pi"). Not proven on hardware.
    """
    said = re.findall(r"(\w{1,40})_([AV]) (?:current|volt)\(\d+\)=(\d{1,4}\.\d{1,12})[AV]", _vcgencmd("pmic_read_adc"))
    found = {(rail, unit): float(value) for rail, unit, value in said}
    amperes = {rail: value for (rail, unit), value in found.items() if unit == "A" and (rail, "V") in found}
    return {**sensor.rails(top), **{rail: value * found[rail, "V"] for rail, value in amperes.items()}}


def _throttled() -> str | None:
    """Return the bits of ``vcgencmd get_throttled`` as hex: 0-3 now, 16-19 since boot (Raspberry Pi documentation)."""
    found = re.search(r"throttled=(0x[0-9a-fA-F]{1,8})", _vcgencmd("get_throttled"))
    return found.group(1) if found else None


def _vcgencmd(what: str) -> str:
    try:
        done = subprocess.run(["vcgencmd", what], stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):  # most boards have no such command
        return ""
    return done.stdout.decode("utf-8", "replace")
