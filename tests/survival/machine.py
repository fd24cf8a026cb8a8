"""A whole machine whose plug can be pulled: a kernel of its own on an ext4 disk. ``kill -9`` of the machine's process is the power cut.

What the guest's kernel had not yet written is lost with it, as on a board. What it had written without a flush stays, in the page cache of
this host: a drive that loses its own cache is not modelled (the crash states of `tests.survival.disk` go further than that).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from edgekit.devices.virtual.machine import emulator, make_disk
from edgekit.devices.virtual.process import free_port
from tests.survival.image import Image

__all__ = ["Machine", "lacks"]

_UP_TIMEOUT_S = 180.0
_NEEDED = {
    "arm64": {"qemu-system-aarch64": "qemu-system-arm", "qemu-img": "qemu-utils"},
    "uml": {"ip": "iproute2"},
}


def lacks(kind: str) -> str | None:
    """Return what is missing here to run a machine, None when it can run."""
    for program, package in _NEEDED[kind].items():
        if shutil.which(program) is None:
            return f"no {program} here: sudo apt install {package}"
    if kind == "uml" and (os.geteuid() != 0 or not os.access("/dev/net/tun", os.R_OK | os.W_OK)):
        return "User-mode Linux is reached by a tap device, which needs root and /dev/net/tun"
    return None


class Machine:
    """One machine with a disk of its own.

    Parameters
    ----------
    disk
        Another machine's disk, switched off, that this one begins with; None for the image's.
    """

    def __init__(self, image: Image, folder: Path, disk: Path | None = None) -> None:
        self.image, self.folder = image, folder
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        self.disk = folder / "disk"
        if image.kind == "arm64":
            below, form = (disk, "qcow2") if disk else (image.disk, "raw")
            make_disk(self.disk, below, form)
            self.host, self.port = "127.0.0.1", free_port()
        else:
            subprocess.run(["cp", "--sparse=always", str(disk or image.disk), str(self.disk)], check=True)
            # A network of two hosts for each process that has one machine at a time (RFC 1918 leaves 10/8 to us).
            self._tap, low = f"ek{os.getpid()}", os.getpid() % (1 << 14) * 4
            self._near, self.host = (f"10.213.{low + end >> 8}.{low + end & 255}" for end in (1, 2))
            self.port = 22

    def start(self, *, recover: bool = False) -> float:
        """Switch on and wait until the SSH server answers; return the seconds it took.

        Parameters
        ----------
        recover
            The machine's start-up runs ``~/.edgekit/boot``.
        """
        started_s = time.monotonic()
        boot = ["edgekit.boot"] if recover else []
        if self.image.kind == "arm64":  # the kernel's words are one of the emulator's
            *words, given = emulator(self.image, self.disk, port=self.port, cpu="cortex-a72", cores=1, memory_mib=768)
            words.append(" ".join([given, *boot]))
        else:
            words = [*self._uml(), *boot]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["nice", "-n", "10", *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        while time.monotonic() < started_s + _UP_TIMEOUT_S:
            if self.process.poll() is not None:
                break
            # A forwarded port takes connections before the guest does: only the banner proves that it is up.
            with suppress(OSError), socket.create_connection((self.host, self.port), timeout=2) as sock:
                if sock.recv(4) == b"SSH-":
                    return time.monotonic() - started_s
            time.sleep(0.05)
        self.cut()
        raise RuntimeError(f"the {self.image.kind} machine does not answer:\n{(self.folder / 'log').read_text(errors='replace')[-4000:]}")

    def _uml(self) -> list[str]:
        self._untap()
        for words in (
            ["tuntap", "add", "dev", self._tap, "mode", "tap"],
            ["addr", "add", f"{self._near}/30", "dev", self._tap],
            ["link", "set", self._tap, "up"],
        ):
            subprocess.run(["ip", *words], check=True)
        words = [str(self.image.kernel), "mem=512M", f"ubd0={self.disk}", "root=/dev/ubda", "rw", "init=/sbin/init", "quiet"]
        words += ["con=null", "con0=null,fd:1", f"umid={self._tap}", f"uml_dir={self.folder}", f"eth0=tuntap,{self._tap}"]
        return [*words, f"edgekit.net=eth0,{self.host}/30"]

    def cut(self) -> None:
        """Pull the plug."""
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)  # User-mode Linux runs each of its processes in one of ours
            self.process.wait()
            self.process = None
        self._untap()

    def _untap(self) -> None:
        if self.image.kind == "uml":
            subprocess.run(["ip", "link", "del", self._tap], stderr=subprocess.DEVNULL)
