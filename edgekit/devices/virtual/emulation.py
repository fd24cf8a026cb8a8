"""How this machine comes to run another processor's programs: QEMU's user emulation, registered with the kernel (binfmt_misc).

Since Linux 6.7 a user namespace has registrations of its own, which end with it; before, the machine's own must serve.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from edgekit.devices.virtual.kind import Kind
from edgekit.errors import DeviceError

__all__ = ["NAMESPACE", "registration"]

# The head of an ELF file: 64 or 32 bits, little endian, executable or shared object (the mask leaves the lowest bit out), machine 183 =
# AArch64, 40 = Arm (System V ABI; ELF for the Arm Architecture).
_HEADS = {"aarch64": (r"\x02", r"\xb7"), "arm": (r"\x01", r"\x28")}
_MASK = r"\xff" * 7 + r"\x00" + r"\xff" * 8 + r"\xfe\xff\xff\xff"

NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
"""A user and a mount namespace: root within, nobody outside; what is mounted and registered there ends with it."""

_REGISTER = """\
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf %s {entry} >/proc/sys/fs/binfmt_misc/register
"""
_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")


def registration(kind: Kind) -> str:
    """Return the shell lines by which a namespace of ours comes to run a board's programs; none where the whole machine runs them.

    Raises
    ------
    DeviceError
        This machine cannot; says what is missing and what mends it.
    """
    for program, package in ((f"qemu-{kind.emulator}-static", "qemu-user-static"), ("unshare", "util-linux")):
        if shutil.which(program) is None:
            raise DeviceError(f"no {program} here, which emulated boards need", fix=f"sudo apt install {package}")
    tried = _attempt("true")
    if tried:
        fix = "sudo sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000, or run edgekit as root"
        if _APPARMOR.exists() and _APPARMOR.read_text().strip() == "1" and os.geteuid() != 0:
            fix = "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
        raise DeviceError(f"no user namespace can be made here: {tried}", fix=fix)
    bits, machine = _HEADS[kind.emulator]
    magic = rf"\x7fELF{bits}\x01\x01" + r"\x00" * 9 + rf"\x02\x00{machine}\x00"
    # F opens the emulator now, so that it is found after chroot (Linux, Documentation/admin-guide/binfmt-misc.rst).
    entry = f":{kind.emulator}:M::{magic}:{_MASK}:{shutil.which(f'qemu-{kind.emulator}-static')}:F"
    lines = _REGISTER.format(entry=shlex.quote(entry))
    tried = _attempt(lines)
    if not tried:
        return lines
    if _registered(Path("/proc/sys/fs/binfmt_misc"), kind.emulator):
        return ""
    raise DeviceError(
        f"no emulator can be registered in a namespace of its own (Linux 6.7 can, this is {os.uname().release}): {tried}",
        fix="sudo apt install binfmt-support qemu-user-static && sudo systemctl restart systemd-binfmt",
    )


def _attempt(lines: str) -> str:
    """Return what goes wrong when shell lines run in such a namespace, nothing when all is well."""
    done = subprocess.run([*NAMESPACE, "sh", "-e", "-c", lines], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    return (done.stderr.strip() or f"exit status {done.returncode}") if done.returncode else ""


def _registered(table: Path, emulator: str) -> bool:
    """Tell whether the whole machine knows an emulator, in a way that works after chroot: flag F."""
    entry = table / f"qemu-{emulator}"
    lines = entry.read_text().splitlines() if entry.is_file() else []
    return "enabled" in lines and any(line.startswith("flags:") and "F" in line for line in lines)
