"""Boards behind a real sshd whose runtime is a stand-in for LiteRT, and bundles for it that take no building."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgekit.bundle import list_files, write_bundle
from edgekit.device import Device
from edgekit.health import Health, Hook
from edgekit.manifest import Requires
from edgekit.ondevice import samples
from tests.unit.bundles import small_manifest
from tests.unit.ondevice.served import RUNTIME

__all__ = ["Place", "bundle", "place"]


class Place:
    """A board, the project folder that deploys to it, and the file in which hooks write down what they did."""

    def __init__(self, device: Device, folder: Path) -> None:
        self.root, self.folder, self.trace = Path(device.root), folder, folder / "trace"
        self.device = device
        runtime = self.root / "runtimes" / "stand-in"
        for name, text in RUNTIME.items():
            (runtime / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            (runtime / name).write_text(text)
        (self.root / "runtimes" / "current").symlink_to("stand-in")
        for path in (self.root, self.root / "runtimes"):
            path.chmod(0o700)

    def project(self, restart: str = "exit 0", check: str = "exit 0", **deploy: Any) -> None:
        """Write the project: its device and its hooks, which say which release they are of, then do this."""
        where = f"{self.device.address.user}@{self.device.address.host}:{self.device.address.port}"
        lines = [f'[devices.board]\naddress = "{where}"\nroot = "{self.root}"\npython = "{sys.executable}"\n[deploy]']
        lines += ['restart = ["./restart.sh"]', 'health = ["./check.sh"]', *(f"{key} = {value}" for key, value in deploy.items())]
        (self.folder / "edgekit.toml").write_text("\n".join(lines))
        for name, text in (("restart", restart), ("check", check)):
            number = "$(tail -c 1 model.tflite)"
            (self.folder / f"{name}.sh").write_text(f'#!/bin/sh\necho "{name} {number}" >> {self.trace}\n{text}\n')

    def bundle(self, number: int) -> str:
        """Write a bundle whose model answers with its number, with the project's hooks as they are now."""
        return str(bundle(self.folder, number))

    def hooks(self) -> list[str]:
        return self.trace.read_text().splitlines() if self.trace.exists() else []


def place(device: Device, folder: Path) -> Place:
    folder.mkdir(parents=True)
    return Place(device, folder)


def bundle(folder: Path, number: int) -> Path:
    """Write a bundle for this machine: one sample, and the answer of the stand-in."""
    arrays: dict[str, list[Any]] = {"samples": [np.full((2, 2, 3), 4, np.uint8)], "outputs": [np.array([[4, ord(str(number))]], np.int8)]}
    packed = {}
    for name, values in arrays.items():
        samples.write(folder / "x.npz", values)
        packed[name] = (folder / "x.npz").read_bytes()
    files = {
        "model.tflite": b"\0\0\0\0TFL3" + str(number).encode(),
        "golden/samples.npz": packed["samples"],
        "golden/outputs.npz": packed["outputs"],
        "golden/builtin-outputs.npz": packed["outputs"],
        "hooks/restart.sh": (folder / "restart.sh").read_bytes(),
        "hooks/check.sh": (folder / "check.sh").read_bytes(),
    }
    manifest = msgspec.structs.replace(
        small_manifest(),
        target="local",
        threads=1,
        requires=Requires(machines=(platform.machine(),), boards=(), python="3.8", runtime="tflite"),
        health=Health(restart=Hook(("./restart.sh",)), check=Hook(("./check.sh",))),
        files=list_files(files),
    )
    return write_bundle(manifest, files, folder / "build")
