"""What the board is: job `facts`. Read from the kernel's own files; a fact that cannot be read is null."""

from __future__ import annotations

import os
import platform
import re
import struct
import sys
from typing import Any

from .board import read_text, temperatures
from .disk import existing_parent, free_bytes
from .runner import runtime_folder, runtimes_in, version_of
from .wire import Progress

# Main ID Register: Arm's parts that boards in the field have (Arm, Cortex-A technical reference manuals; Linux, cputype.h).
ARM_PARTS = {
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD0B: "Cortex-A76",
    0xD42: "Cortex-A78AE",
    0xC07: "Cortex-A7",
}


def facts(_job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Return everything about the board that deciding, building for it and judging its measurements needs."""
    folder = runtime_folder(root)
    paths = ([folder] if folder else []) + sys.path
    return {
        **hardware("/"),
        "kernel": os.uname().release,
        "glibc": _glibc(),
        "python": platform.python_version(),
        "python_path": sys.executable,
        "cores": len(os.sched_getaffinity(0)),
        "disk_free_bytes": free_bytes(existing_parent(root)),
        "runtimes": (runtimes_in(folder) if folder else []) + runtimes_in(None),
        "numpy": version_of("numpy", paths),
    }


def hardware(top: str) -> dict[str, Any]:
    """Return what the kernel's and the system's files under ``top`` say."""

    def text(path: str) -> str | None:
        return read_text(os.path.join(top, path))

    cpuinfo = dict(re.findall(r"^([^\t\n:]+?)\s*:[ \t]*(.*)$", text("proc/cpuinfo") or "", re.MULTILINE))
    memory = dict(re.findall(r"^(\w+):\s+(\d+) kB$", text("proc/meminfo") or "", re.MULTILINE))
    system = dict(re.findall(r'^(\w+)="?(.*?)"?$', text("etc/os-release") or "", re.MULTILINE))
    part = int(cpuinfo.get("CPU part", "0"), 16) if re.fullmatch(r"0x[0-9a-f]{1,4}", cpuinfo.get("CPU part", "")) else 0
    return {
        "machine": _machine(),
        "system": system.get("PRETTY_NAME"),
        "board": text("proc/device-tree/model") or text("sys/firmware/devicetree/base/model"),
        "cpu": cpuinfo.get("model name") or ARM_PARTS.get(part) or cpuinfo.get("Hardware") or "unknown",
        "cpu_features": sorted((cpuinfo.get("Features") or cpuinfo.get("flags") or "").split()),
        "memory_total_bytes": int(memory.get("MemTotal", 0)) * 1024,
        "memory_available_bytes": int(memory.get("MemAvailable", 0)) * 1024,
        "sensors": [
            {"name": name, "kind": "temperature", "value": value, "unit": "degC"} for name, value in sorted(temperatures(top).items())
        ],
        "simulated": _simulated(top),
    }


def _machine() -> str:
    """Return ``uname -m`` as the processes see it: a 32-bit system under a 64-bit kernel needs 32-bit wheels."""
    machine = os.uname().machine
    return "armv7l" if machine == "aarch64" and struct.calcsize("P") == 4 else machine


def _glibc() -> str | None:
    try:
        found = re.search(r"\d+\.\d+", os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (ValueError, OSError):
        return None
    return found.group() if found else None


def _simulated(top: str) -> bool:
    """Say whether times measured here would mean nothing.

    True for a tree marked as simulated, for QEMU's own machine (its device tree says ``dummy-virt``), and under QEMU user emulation,
    which shows a process its own command line in ``/proc/self/cmdline`` but not in that of its thread.
    """
    marked = os.path.exists(os.path.join(top, "sys/EDGEKIT_SIMULATED"))
    machine = "dummy-virt" in (read_text(os.path.join(top, "proc/device-tree/compatible")) or "")
    command = (read_text(os.path.join(top, "proc/self/task/%d/cmdline" % os.getpid())) or "").split("\0")[0]
    return marked or machine or os.path.basename(command).startswith("qemu-")
