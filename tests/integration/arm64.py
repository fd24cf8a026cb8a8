"""An arm64 board without hardware: Debian's arm64 userland, each SSH session inside it, run by QEMU's user emulation.

Used by ``test_arm64.py``. Commands, the SFTP server, Python, NumPy and the TFLite runtime are the real aarch64 binaries; the kernel, the
core count and all times are this machine's. A session lives in user and mount namespaces of its own: what it mounts and the interpreter
that it registers (binfmt_misc is per user namespace since Linux 6.7) end with it, and it needs no privileges. Making the userland needs
root or subordinate user ids (mmdebstrap).
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
from pathlib import Path

__all__ = ["mirror", "missing", "root", "sshd_options"]

# Read before the tests move the home away.
_ROOT = Path(os.environ.get("EDGEKIT_ARM64_ROOT") or Path.home() / ".cache" / "edgekit-tests" / "arm64-root")
_QEMU, _MMDEBSTRAP = "qemu-aarch64-static", "mmdebstrap"
_SUITE = "bookworm"  # Raspberry Pi OS of 2023 to 2025 is this release
_PACKAGES = ("base-files", "coreutils", "dash", "libc-bin", "libgcc-s1", "libstdc++6", "openssh-sftp-server", "python3")
_SFTP = "/usr/lib/openssh/sftp-server"

# The head of an ELF file: 64 bits, little endian, executable or shared object (the mask leaves the lowest bit out), machine 183 = AArch64
# (System V ABI; ELF for the Arm 64-bit Architecture). F opens the interpreter now, so that it is found after chroot (Linux, binfmt-misc).
_MAGIC = r"\x7fELF\x02\x01\x01" + r"\x00" * 9 + r"\x02\x00\xb7\x00"
_MASK = r"\xff" * 7 + r"\x00" + r"\xff" * 8 + r"\xfe\xff\xff\xff"

_REGISTER = """\
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf %s {register} >/proc/sys/fs/binfmt_misc/register
"""
# The host's /sys and /proc/cpuinfo describe another processor; LiteRT's cpuinfo crashes on the mixture.
_ENTER = """#!/bin/sh
set -e
if [ "${{1:-}}" != inside ]; then exec unshare --user --map-root-user --mount "$0" inside; fi
{register}
mount --rbind /proc {root}/proc
mount --bind {folder}/cpuinfo {root}/proc/cpuinfo
mount --rbind /dev {root}/dev
mount --bind {folder}/sys {root}/sys
mount --bind {folder}/home {root}/root
mount -t tmpfs tmpfs {root}/tmp
cd /
exec env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin QEMU_CPU=cortex-a72 chroot {root} /bin/sh -c "cd; $SSH_ORIGINAL_COMMAND"
"""
# A Cortex-A72 as Linux shows it (Armv8-A without the dot product), and files of /sys that a Raspberry Pi 4 has.
_CPU = "processor\t: {}\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\n"
_SYS = {
    "firmware/devicetree/base/model": "Raspberry Pi 4 Model B (emulated)\0",
    "class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "class/thermal/thermal_zone0/temp": "48200\n",
}


def missing() -> str | None:
    """Return what this machine lacks for the tier, None when it has all."""
    for tool, package in ((_QEMU, "qemu-user-static"), ("unshare", "util-linux")):
        if shutil.which(tool) is None:
            return f"no {tool} here: sudo apt install {package}"
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-e", "-c", _register()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    if done.returncode:
        return f"no emulator can be registered in a namespace of its own (Linux 6.7 can): {done.stderr.strip()}"
    if not _ready() and shutil.which(_MMDEBSTRAP) is None:
        return f"no {_MMDEBSTRAP} here to make the arm64 root with: sudo apt install {_MMDEBSTRAP}"
    return None


def root() -> Path:
    """Return the folder of the arm64 userland, made now unless it is there: about half a minute, 90 MB.

    Raises
    ------
    RuntimeError
        The packages cannot be fetched or unpacked.
    """
    _ROOT.parent.mkdir(parents=True, exist_ok=True)
    with _ROOT.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes beside each other make it once
        if not _ready():
            _make()
    return _ROOT


def sshd_options(folder: Path) -> str:
    """Return the sshd_config lines that put every session, SFTP's too, into the board; its files stay in ``folder/home``."""
    (folder / "home").mkdir(parents=True)
    (folder / "cpuinfo").write_text("".join(_CPU.format(core) for core in range(os.cpu_count() or 1)))
    cores = f"0-{(os.cpu_count() or 1) - 1}\n"
    for name, text in {**_SYS, "devices/system/cpu/possible": cores, "devices/system/cpu/present": cores}.items():
        path = folder / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    enter = folder / "enter"
    enter.write_text(_ENTER.format(register=_register(), root=shlex.quote(str(_ROOT)), folder=shlex.quote(str(folder))))
    enter.chmod(0o755)
    return f"Subsystem sftp {_SFTP}\nForceCommand {enter}"


def _register() -> str:
    return _REGISTER.format(register=shlex.quote(f":aarch64:M::{_MAGIC}:{_MASK}:{shutil.which(_QEMU)}:F"))


def _stamp() -> str:
    return " ".join((_SUITE, *_PACKAGES)) + "\n"


def _ready() -> bool:
    stamp = _ROOT / "edgekit-arm64-root"
    return stamp.is_file() and stamp.read_text() == _stamp()


def _make() -> None:
    """Unpack the packages; their scripts, which would run emulated for minutes, are not needed."""
    fresh = _ROOT.with_suffix(".new")
    for old in (fresh, _ROOT):
        if old.exists():
            shutil.rmtree(old)
    fresh.mkdir()
    archive = fresh.with_suffix(".tar")
    words = [_MMDEBSTRAP, "--quiet", "--arch=arm64", "--variant=extract", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]
    words += ["--aptopt=APT::Install-Recommends 0", "--aptopt=Acquire::Languages none", "--aptopt=Acquire::Retries 3"]
    words += [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "info", "locale", "man")]
    _run([*words, f"--include={','.join(_PACKAGES)}", _SUITE, str(archive), *mirror()])
    _run(["tar", "--extract", "--no-same-owner", "--exclude=./dev/*", "--file", str(archive), "--directory", str(fresh)])
    archive.unlink()
    (fresh / "edgekit-arm64-root").write_text(_stamp())
    fresh.rename(_ROOT)


def mirror() -> list[str]:
    """Return the mirror this machine has the release from, if it is a Debian of the same release; else mmdebstrap knows one."""
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian", f"Codename: {_SUITE}"]
    return _run(words).split()[:1] if shutil.which(words[0]) else []


def _run(words: list[str]) -> str:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=600)
    if done.returncode:
        raise RuntimeError(f"{words[0]} failed with {done.returncode}:\n{done.stderr.strip()[-2000:]}")
    return done.stdout
