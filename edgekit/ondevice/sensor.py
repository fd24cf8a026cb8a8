"""Readings of the kernel's sensors: temperatures, clocks, power rails, fans. Called by `facts` and `board`.

Paths begin at ``top``, so that tests bring their own trees. A sensor that cannot be read is left out: some of a healthy board never can.
"""

from __future__ import annotations

import glob
import os
import re
from typing import Any

# The GPU among the clocks of devfreq: Thor, Orin (JetPack 6 and 5), Xavier, as their device trees name it.
GPU_CLOCK = re.compile(r"gpu-gpc-\d+|[0-9a-f]+\.(gpu|ga10b|gv11b)")
# What a zone says that is switched off (Jetson Linux, thermal driver): -256 degrees.
COLDEST_C = -200
CHANNELS = (1, 2, 3)


def read_text(path: str) -> str | None:
    """Return a small text of the kernel's, without the NUL that ends a device-tree property; None when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace").strip("\0 \n\t")
    except OSError:
        return None


def read_number(path: str) -> float | None:
    """Return the number that a file holds, or None."""
    try:
        return float(read_text(path) or "")
    except ValueError:
        return None


def sensors(top: str) -> list[dict[str, Any]]:
    """Return all readings, sorted by kind and name."""
    gpu = gpu_clock(top)
    found = [(name, "temperature", value, "degC") for name, value in temperatures(top).items()]
    found += [(name, "power", value, "W") for name, value in rails(top).items()]
    found += [(name, "fan", value, unit) for name, (value, unit) in fans(top).items()]
    found += [("gpu", "clock", gpu["mhz"], "MHz")] if gpu else []
    return [{"name": n, "kind": k, "value": v, "unit": u} for n, k, v, u in sorted(found, key=lambda entry: (entry[1], entry[0]))]


def temperatures(top: str) -> dict[str, float]:
    """Return thermal zone -> degrees Celsius; zones of one type are told apart by their number. The kernel gives millidegrees."""
    found: dict[str, float] = {}
    for zone in sorted(glob.glob(os.path.join(top, "sys/class/thermal/thermal_zone*"))):
        value = read_number(os.path.join(zone, "temp"))
        name = read_text(os.path.join(zone, "type")) or os.path.basename(zone)
        if value is not None and value / 1000 > COLDEST_C:
            found["%s-%s" % (name, zone.rpartition("zone")[2]) if name in found else name] = value / 1000
    return found


def rails(top: str) -> dict[str, float]:
    """Return power rail -> watts.

    An INA3221 gives millivolts and milliamperes of three channels, an INA238 of one and microwatts besides (Linux, hwmon: ina3221, ina238).
    """
    found: dict[str, float] = {}
    for chip in _chips(top, "ina"):
        for channel in CHANNELS:
            label = read_text("%s/in%d_label" % (chip, channel)) or read_text(chip + "/name") or ""
            power, voltage, current = (read_number("%s/%s%d_input" % (chip, what, channel)) for what in ("power", "in", "curr"))
            watts = power / 1e6 if power is not None else None
            if watts is None and voltage is not None and current is not None:
                watts = voltage * current / 1e6
            if watts is not None:
                found["%s-%s" % (label, os.path.basename(chip)) if label in found else label] = watts
    return found


def fans(top: str) -> dict[str, tuple[float, str]]:
    """Return fan -> its speed in rpm, or how far it is driven in per cent (Linux, hwmon: fan*_input, pwm*; Jetson Linux, pwm_tach: rpm)."""
    found: dict[str, tuple[float, str]] = {}
    for chip in _chips(top, "pwm"):
        name = read_text(chip + "/name") or ""
        speed = next((rpm for rpm in map(read_number, (chip + "/fan1_input", chip + "/rpm")) if rpm is not None), None)
        drive = read_number(chip + "/pwm1")
        if speed is not None:
            found[name] = (speed, "rpm")
        elif drive is not None:
            found[name] = (drive / 255 * 100, "%")
    return found


def gpu_clock(top: str) -> dict[str, Any] | None:
    """Return the GPU's clock in MHz, the bounds it may move in now, and who moves it (Linux, devfreq; a GPU that sleeps says 0)."""
    for path in sorted(glob.glob(os.path.join(top, "sys/class/devfreq/*"))):
        if GPU_CLOCK.fullmatch(os.path.basename(path)):
            now, low, high = (read_number("%s/%s_freq" % (path, which)) for which in ("cur", "min", "max"))
            if now is not None and low is not None and high is not None:
                governor = read_text(path + "/governor") or "unknown"
                return {"mhz": now / 1e6, "min_mhz": low / 1e6, "max_mhz": high / 1e6, "governor": governor}
    return None


def throttle_events(top: str) -> dict[str, int]:
    """Return how often since boot the board slowed down for its power supply.

    ``oc1``: too low a voltage, ``oc2``: too high a current on average, ``oc3``: at one moment (Jetson Linux Developer Guide 36, "Jetson
    Orin Nano Series, Jetson Orin NX Series and Jetson AGX Orin Series": ``hwmon*/oc*_event_cnt``).
    """
    found = {}
    for path in sorted(glob.glob(os.path.join(top, "sys/class/hwmon/hwmon*/oc[0-9]*_event_cnt"))):
        count = read_number(path)
        if count is not None:
            found[os.path.basename(path).partition("_")[0]] = int(count)
    return found


def alarms(top: str) -> list[str]:
    """Return what slows the board down, or warns, at this moment.

    Cooling devices that are called alerts act once a temperature is too high (Jetson Linux Developer Guide, "Thermal Management");
    ``curr*_crit_alarm`` says that a rail's current is over its critical limit (Linux, hwmon: ina3221).
    """
    found = []
    for device in glob.glob(os.path.join(top, "sys/class/thermal/cooling_device*")):
        kind = read_text(device + "/type") or ""
        if kind.endswith("-alert") and (read_number(device + "/cur_state") or 0) > 0:
            found.append(kind)
    for chip in _chips(top, "ina"):
        for channel in CHANNELS:
            if read_number("%s/curr%d_crit_alarm" % (chip, channel)):
                found.append("current of %s" % (read_text("%s/in%d_label" % (chip, channel)) or "channel %d" % channel))
    return sorted(found)


def _chips(top: str, prefix: str) -> list[str]:
    chips = sorted(glob.glob(os.path.join(top, "sys/class/hwmon/hwmon*")))
    return [chip for chip in chips if (read_text(chip + "/name") or "").startswith(prefix)]
