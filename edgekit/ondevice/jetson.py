"""A Jetson's module and system: Jetson Linux (L4T), JetPack, part number, power mode. Called by `facts` and `board`.

Not proven on hardware: the files are read as NVIDIA's documents and public logs show them.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

from .sensor import read_text

# Release of Jetson Linux -> JetPack (NVIDIA, JetPack Archive and Jetson Linux Archive).
JETPACK = {
    (35, 1, 0): "5.0.2",
    (35, 2, 1): "5.1",
    (35, 3, 1): "5.1.1",
    (35, 4, 1): "5.1.2",
    (35, 5, 0): "5.1.3",
    (35, 6, 0): "5.1.4",
    (35, 6, 1): "5.1.5",
    (35, 6, 4): "5.1.6",
    (36, 3, 0): "6.0",
    (36, 4, 0): "6.1",
    (36, 4, 3): "6.2",
    (36, 4, 4): "6.2.1",
    (36, 5, 0): "6.2.2",
    (36, 5, 2): "6.2.3",
    (38, 2, 0): "7.0",
    (38, 4, 0): "7.1",
    (39, 2, 0): "7.2",
    (39, 2, 1): "7.2.1",
}
# Modules: AGX Xavier, Xavier NX, AGX Orin, Orin NX and Nano, AGX Thor (Jetson Linux Developer Guide, Quick Start, "Jetson Modules").
MODULE = re.compile(r"p(?:2888|3668|3701|3767|3834)-\d{4}")
RELEASE = re.compile(r"# R(\d+) \(release\), REVISION: (\d+)\.(\d+)")
PROGRAM_TIMEOUT_S = 10


def jetson(top: str) -> dict[str, Any] | None:
    """Return the facts of a Jetson; None on any other board."""
    release = RELEASE.search(read_text(os.path.join(top, "etc/nv_tegra_release")) or "")
    tree = os.path.join(top, "proc/device-tree")
    compatible = read_text(os.path.join(tree, "compatible")) or ""
    if release is None and "nvidia,tegra" not in compatible:
        return None
    parts = (int(release[1]), int(release[2]), int(release[3])) if release else None
    module = MODULE.search(compatible) or MODULE.search(os.path.basename(read_text(os.path.join(tree, "nvidia,dtsfilename")) or ""))
    return {
        "l4t": "%d.%d.%d" % parts if parts else None,
        "jetpack": jetpack_of(parts) if parts else None,
        "module": module.group() if module else None,
        "power_mode": power_mode(top),
    }


def jetpack_of(release: tuple[int, int, int]) -> str | None:
    """Return the JetPack of a release of Jetson Linux; a later fix of the same series leaves JetPack as it was before."""
    older = [known for known in JETPACK if known[:2] == release[:2] and known <= release]
    return JETPACK[max(older)] if older else None


def power_mode(top: str) -> str | None:
    """Return the name of the mode that nvpmodel holds: by its files, which anybody may read, else by the program."""
    status = re.search(r"pmode:(\d+)", read_text(os.path.join(top, "var/lib/nvpmodel/status")) or "")
    modes = re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", read_text(os.path.join(top, "etc/nvpmodel.conf")) or "")
    names: dict[int, str] = {int(number): name for number, name in modes}
    if status and int(status[1]) in names:
        return names[int(status[1])]
    try:
        command = [os.path.join(top, "usr/sbin/nvpmodel"), "-q"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROGRAM_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):  # most boards have no such program
        return None
    return queried_mode(done.stdout.decode("utf-8", "replace"))


def queried_mode(said: str) -> str | None:
    """Return the mode's name in the answer of ``nvpmodel -q``; older releases write no blank after the colon."""
    found = re.search(r"^NV Power Mode\s*:\s*(\S.*?)\s*$", said, re.MULTILINE)
    return str(found[1]) if found else None
