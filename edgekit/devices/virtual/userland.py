"""The system that a virtual board runs: Debian's packages for its processor, unpacked once and kept in the cache.

The packages' own scripts, which would run emulated for minutes, are not needed. Making one needs root or subordinate user ids.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs

from edgekit.devices import Progress
from edgekit.devices.virtual.kind import VCGENCMD
from edgekit.devices.virtual.process import run, user_name
from edgekit.digest import make_folder, sha256_bytes
from edgekit.errors import DeviceError

__all__ = ["SFTP_SERVER", "SUITE", "cache", "can_unpack", "made", "make_userland", "unpack"]

SUITE = "bookworm"  # Raspberry Pi OS of 2023 to 2025 is this release
_PYTHON = "3.11"
_KEYRINGS = Path("/usr/share/keyrings")  # where mmdebstrap looks for those of a suite it knows; not every Ubuntu has Debian's
SFTP_SERVER = "/usr/lib/openssh/sftp-server"
_COMMON = ("base-files", "coreutils", "dash", "libc-bin", "libgcc-s1", "libstdc++6", "openssh-sftp-server", "python3", "sed")
# There are no wheels of NumPy for 32-bit Arm: the board's own serves, as on Raspberry Pi OS.
_PACKAGES = {"arm64": _COMMON, "armhf": (*_COMMON, "python3-numpy")}


def cache() -> Path:
    """Return the folder in which what virtual boards are made of is kept."""
    return platformdirs.user_cache_path("edgekit") / "virtual"


def can_unpack() -> None:
    """Refuse where packages cannot be fetched and unpacked.

    Raises
    ------
    DeviceError
        With the command that mends it.
    """
    if shutil.which("mmdebstrap") is None:
        raise DeviceError("no mmdebstrap here, which fetches the board's system", fix="sudo apt install mmdebstrap")
    if not any((_KEYRINGS / f"debian-archive-keyring.{form}").exists() for form in ("gpg", "pgp")):
        raise DeviceError("no keys of Debian's here, by which the board's system is checked", fix="sudo apt install debian-archive-keyring")
    if os.geteuid() != 0:
        if shutil.which("newuidmap") is None:
            raise DeviceError("no newuidmap here, which unpacks the board's system for a user", fix="sudo apt install uidmap")
        user = user_name()
        owners = Path("/etc/subuid").read_text().splitlines() if Path("/etc/subuid").exists() else []
        if not any(line.split(":")[0] in (user, str(os.getuid())) for line in owners):
            raise DeviceError(
                f"the board's system is unpacked as root, or as a user with subordinate ids, and {user} has none",
                fix=f"sudo usermod -v 100000-165535 -w 100000-165535 {user}",
            )


def make_userland(arch: str, progress: Progress) -> Path:
    """Return the folder of an architecture's system, made now unless it is there: about half a minute, 90 MB.

    Raises
    ------
    DeviceError
        The packages cannot be fetched or unpacked.
    """

    def make(fresh: Path) -> None:
        unpack(arch, _PACKAGES[arch], fresh, progress)
        _complete(fresh)

    return made(arch, repr((SUITE, _PACKAGES[arch], VCGENCMD)), make)


def made(name: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """Return a folder of the cache, named by what it is made of and made now unless it is there.

    What another edgekit has made otherwise stays beside it: boards may be running on it.

    Parameters
    ----------
    make
        Makes a folder that is then given its name; what an earlier call has left there is gone.
    """
    make_folder(cache())
    folder = cache() / f"{name}-{sha256_bytes(recipe.encode())[:12]}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second finds it made
        if not folder.exists():
            fresh = folder.with_suffix(".new")
            if fresh.exists():  # of a call that was killed
                shutil.rmtree(fresh)
            fresh.mkdir(mode=0o700)
            try:
                make(fresh)
                fresh.rename(folder)
            except BaseException:
                shutil.rmtree(fresh)
                raise
    return folder


def unpack(arch: str, packages: tuple[str, ...], folder: Path, progress: Progress) -> None:
    """Unpack Debian packages, and those that they need, into a folder.

    Raises
    ------
    DeviceError
        They cannot be fetched or unpacked.
    """
    can_unpack()
    stage = f"Debian for {arch}"
    progress(stage, 0, 2)
    archive = folder.with_suffix(".tar")
    words = ["mmdebstrap", "--quiet", f"--arch={arch}", "--variant=extract", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]
    words += ["--aptopt=APT::Install-Recommends 0", "--aptopt=Acquire::Languages none", "--aptopt=Acquire::Retries 3"]
    words += [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "info", "locale", "man")]
    try:
        # Interrupted early, mmdebstrap leaves its folder of keys. A user's subordinate ids must get through ours, and may own the rest.
        with tempfile.TemporaryDirectory(prefix="edgekit-", ignore_cleanup_errors=True) as scratch:
            Path(scratch).chmod(0o755)
            run([*words, f"--include={','.join(packages)}", SUITE, str(archive), *_mirror()], TMPDIR=scratch)
        progress(stage, 1, 2)
        run(["tar", "--extract", "--no-same-owner", "--exclude=./dev/*", "--file", str(archive), "--directory", str(folder)])
    finally:
        archive.unlink(missing_ok=True)
    progress(stage, 2, 2)


def _mirror() -> list[str]:
    """Return the mirror this machine has the release from, if it is a Debian of the same release; else mmdebstrap knows one."""
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian", f"Codename: {SUITE}"]
    return run(words).split()[:1] if shutil.which(words[0]) else []


def _complete(root: Path) -> None:
    """Do what packages' scripts would have done, as far as it is needed, and add what makes it a Raspberry Pi's.

    Bytecode is the same on every processor, but not of every Python: where this machine has the board's, what it compiles spares each start
    of Python there more than a second.
    """
    if python := shutil.which("python" + _PYTHON):
        folders = [str(root / "usr" / "lib" / name) for name in (f"python{_PYTHON}", "python3")]
        run([python, "-m", "compileall", "-q", "-s", str(root), "-p", "/", *folders])
    for triplet in (root / "usr" / "lib").glob("*-linux-gnueabihf"):
        for name in ("blas/libblas.so.3", "lapack/liblapack.so.3"):  # NumPy's; chosen by update-alternatives
            (triplet / Path(name).name).symlink_to(name)
    program = root / "usr" / "bin" / "vcgencmd"
    program.write_text(VCGENCMD)
    program.chmod(0o755)
