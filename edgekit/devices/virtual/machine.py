"""A virtual board that is a whole machine: an arm64 kernel of its own, under QEMU's system emulation. It needs no privileges to run.

Called by `edgekit.pipeline.virtual`. What the guest's kernel has not yet written is lost when its process is killed, as when a board's
plug is pulled.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from edgekit.devices.virtual.image import Image
from edgekit.devices.virtual.kind import Kind
from edgekit.devices.virtual.process import run
from edgekit.errors import DeviceError

__all__ = ["can_run_machine", "emulator", "machine", "make_disk"]

_CORES_MAX = 4
_MEMORY_MIB = 1024


def can_run_machine() -> None:
    """Refuse where such a machine cannot run.

    Raises
    ------
    DeviceError
        With the command that mends it.
    """
    for program, package in (("qemu-system-aarch64", "qemu-system-arm"), ("qemu-img", "qemu-utils"), ("ssh-keygen", "openssh-client")):
        if shutil.which(program) is None:
            raise DeviceError(f"no {program} here, which whole machines need", fix=f"sudo apt install {package}")


def machine(kind: Kind, folder: Path, *, port: int, image: Image) -> list[str]:
    """Furnish a board in ``folder``: keys, and a disk that begins as the image's; returns the command that runs it."""
    for path in (image.key, image.host_key):
        shutil.copy(path, folder / path.name)
        shutil.copy(f"{path}.pub", folder / f"{path.name}.pub")
    make_disk(folder / "disk", image.disk, "raw")
    cores = min(os.cpu_count() or 1, _CORES_MAX)
    words = emulator(image, folder / "disk", port=port, cpu=kind.qemu_cpu, cores=cores, memory_mib=_MEMORY_MIB)
    return [*words[:-1], f"{words[-1]} edgekit.model={kind.model.replace(' ', '_')}"]


def make_disk(path: Path, below: Path, form: str) -> None:
    """Make a disk that begins as another one, which stays as it is.

    Parameters
    ----------
    form
        The other one's: ``raw`` or ``qcow2``.
    """
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", form, "-b", str(below), str(path)])


def emulator(image: Image, disk: Path, *, port: int, cpu: str, cores: int, memory_mib: int) -> list[str]:
    """Return the command that runs a machine whose SSH server is reached at a port of loopback; last is its kernel's command line."""
    words = ["qemu-system-aarch64", "-M", "virt", "-cpu", cpu, "-accel", "tcg,thread=multi", "-smp", str(cores), "-m", str(memory_mib)]
    words += ["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio", "-device", "virtio-rng-pci"]
    words += ["-kernel", str(image.kernel), "-initrd", str(image.initramfs)]
    # cache=writeback: a flush of the guest's is an fdatasync here, what is not flushed stands in this host's page cache.
    words += ["-drive", f"if=none,id=disk,format=qcow2,file={disk},cache=writeback", "-device", "virtio-blk-pci,drive=disk"]
    words += ["-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22", "-device", "virtio-net-pci,netdev=net,romfile="]
    return [*words, "-append", "console=ttyAMA0 quiet panic=-1 random.trust_cpu=on edgekit.net=eth0,10.0.2.15/24"]
