"""What the board is: job `facts`. Read from the kernel's own files; a fact that cannot be read is null."""

from __future__ import annotations

import os
import platform
import re
import struct
import sys
from typing import Any

from . import gpu
from .disk import free_bytes
from .jetson import jetson
from .runtimes import LINKS, RUNTIMES, programs, runtime_folder, runtimes_in, version_of
from .sensor import read_text, sensors
from .wire import AgentError, Progress

# Main ID Register: Arm's parts that boards in the field have (Arm, Cortex-A technical reference manuals; Linux, cputype.h).
CORTEX = {0xC07: "A7", 0xD03: "A53", 0xD04: "A35", 0xD05: "A55", 0xD07: "A57", 0xD08: "A72", 0xD0B: "A76", 0xD42: "A78AE"}


def facts(job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Return everything about the board that deciding, building for it and judging its measurements needs.

    With ``runtime``, of the runtimes only those of that kind, and of a GPU only where they need one: each is asked in a process of its own.
    """
    only = job.get("runtime")
    if only not in (None, *(kind for kind, _, _ in RUNTIMES)):
        raise AgentError("usage", "runtime must be a kind of runtime, not %.100r" % only)
    folders = [folder for folder in (runtime_folder(root, kind) for kind in LINKS) if folder]
    engines = only in (None, "tensorrt")
    found, gpu_error = gpu.ask() if engines else (None, None)
    glibc = re.search(r"\d+\.\d+", "".join(platform.libc_ver()) if platform.libc_ver()[0] == "glibc" else "")
    return {
        **hardware("/"),
        "kernel": os.uname().release,
        "glibc": glibc.group() if glibc else None,
        "python": platform.python_version(),
        "python_path": sys.executable,
        "cores": len(os.sched_getaffinity(0)),
        "disk_free_bytes": free_bytes(root),
        "runtimes": [entry for folder in (*folders, None) for entry in runtimes_in(folder, only)] + (programs() if engines else []),
        "numpy": version_of("numpy", folders + sys.path),
        "gpu": found,
        "gpu_error": gpu_error,
        "jetson": jetson("/"),
    }


def engine_facts() -> dict[str, Any]:
    """Return the facts that an engine depends on; importing every runtime to tell the others takes its time on a board."""
    found, gpu_error = gpu.ask()
    runtimes = runtimes_in(None, "tensorrt") + programs()
    return {**hardware("/"), "runtimes": runtimes, "gpu": found, "gpu_error": gpu_error, "jetson": jetson("/")}


def hardware(top: str) -> dict[str, Any]:
    """Return what the kernel's and the system's files under ``top`` say."""

    def text(path: str) -> str:
        return read_text(os.path.join(top, path)) or ""

    cpu = dict(re.findall(r"^([^\t\n:]+?)\s*:[ \t]*(.*)$", text("proc/cpuinfo"), re.MULTILINE))
    memory = dict(re.findall(r"^(\w+):\s+(\d+) kB$", text("proc/meminfo"), re.MULTILINE))
    system = dict(re.findall(r'^(\w+)="?(.*?)"?$', text("etc/os-release"), re.MULTILINE))
    part = CORTEX.get(int(cpu["CPU part"], 16)) if re.fullmatch(r"0x[0-9a-f]{1,4}", cpu.get("CPU part", "")) else None
    # Times mean nothing in a tree marked so, on QEMU's own machine, and under QEMU user emulation, which hides its name in the command
    # line of a process but not in that of its thread.
    command = os.path.basename(text("proc/self/task/%d/cmdline" % os.getpid()).partition("\0")[0])
    simulated = os.path.exists(os.path.join(top, "sys/EDGEKIT_SIMULATED")) or "dummy-virt" in text("proc/device-tree/compatible")
    # A 32-bit system under a 64-bit kernel needs 32-bit wheels, whatever uname says.
    narrow = os.uname().machine == "aarch64" and struct.calcsize("P") == 4
    return {
        "machine": "armv7l" if narrow else os.uname().machine,
        "system": system.get("PRETTY_NAME") or os.uname().sysname,
        "board": text("proc/device-tree/model") or text("sys/firmware/devicetree/base/model") or None,
        "cpu": cpu.get("model name") or (part and "Cortex-" + part) or cpu.get("Hardware") or "unknown",
        "cpu_features": sorted((cpu.get("Features") or cpu.get("flags") or "").split()),
        "memory_total_bytes": int(memory.get("MemTotal", 0)) * 1024,
        "memory_available_bytes": int(memory.get("MemAvailable", 0)) * 1024,
        "sensors": sensors(top),
        "simulated": simulated or command.startswith("qemu-"),
    }
