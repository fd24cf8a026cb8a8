"""Giving a board its runtime: wheels fetched on the host, checked, sent, unpacked there. The board needs no internet.

Called by ``edgekit device setup``. What fits which board is in `edgekit.devices.locks`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from edgekit.device import Facts
from edgekit.devices import Progress
from edgekit.devices.locks import Lock, choose_runtime, pip_platform
from edgekit.devices.session import AgentSession, silent
from edgekit.devices.shell import command
from edgekit.devices.transfer import SPARE_BYTES, Lacking, ask, send
from edgekit.digest import fsync_folder, sha256_file
from edgekit.errors import DeployError, DeviceError, MissingExtraError

__all__ = ["Provision", "WheelFile", "choose_runtime", "fetch", "plan", "setup"]

_FETCH_TIMEOUT_S = 900.0
_INSTALL_TIMEOUT_S = 900.0


def fetch(lock: Lock, *, cache: Path | None = None) -> list[Path]:
    """Return the wheels of a lock, from the cache or else by pip, each with the digest that the lock names.

    Parameters
    ----------
    cache
        Default: ``wheels`` in edgekit's folder under the user's cache folder.

    Raises
    ------
    MissingExtraError
        They must be downloaded, and this Python has no pip.
    DeviceError
        They cannot be downloaded.
    """
    folder = (cache or Path(platformdirs.user_cache_dir("edgekit"), "wheels")) / lock.name
    if wheels := _verified(lock, folder):
        return wheels
    if importlib.util.find_spec("pip") is None:
        raise MissingExtraError(
            f"the runtime {lock.name} must be downloaded, and {sys.executable} has no pip", fix=command([sys.executable, "-m", "ensurepip"])
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{lock.name}.") as name:
        fresh = Path(name, "wheels")
        _download(lock, fresh)
        wheels = _verified(lock, fresh)
        if not wheels:
            raise DeviceError(
                f"the wheels that came for {lock.name} are not those of the lock", fix="look at pip's index settings: pip config list"
            )
        for wheel in wheels:
            with wheel.open("rb") as file:
                os.fsync(file.fileno())
        fsync_folder(fresh)
        if folder.exists():
            shutil.rmtree(folder)
        fresh.replace(folder)
        fsync_folder(folder.parent)
    return [folder / wheel.name for wheel in wheels]


@dataclass(frozen=True)
class WheelFile:
    """A wheel and its size."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Provision:
    """What it takes to give a board a runtime.

    Attributes
    ----------
    runtime
        The folder it gets there, named by lock and wheels.
    there
        The board has it already, and it runs.
    bytes_to_send
        Of the wheels, what is nowhere on the board, before compression.
    need_bytes
        Room for the wheels and for what is in them; the wheels' own is free again afterwards.
    """

    runtime: str
    there: bool
    wheels: tuple[WheelFile, ...]
    bytes_to_send: int
    need_bytes: int
    free_bytes: int


def plan(session: AgentSession, facts: Facts, kind: str, progress: Progress = silent) -> Provision:
    """Say what `setup` would do; this host may fetch wheels for it, the board stays as it is.

    Raises
    ------
    DeviceError
        No runtime fits, or its wheels cannot be fetched.
    """
    lock = choose_runtime(facts, kind, str(session.device.address))
    if lock.is_in(facts):
        return Provision(lock.folder, True, (), 0, 0, facts.disk_free_bytes)
    blobs = _blobs(lock, progress)
    return _planned(lock, ask(session, blobs), blobs)


def setup(session: AgentSession, facts: Facts, kind: str, progress: Progress = silent) -> Facts:
    """Give a board the runtime of a kind that fits it, unless it runs there already.

    Returns
    -------
    Facts
        The board's own word for it, asked again afterwards.

    Raises
    ------
    DeviceError
        No runtime fits, or it does not import on the board.
    DeployError
        No room.
    LinkError
        The connection broke; the next attempt goes on from there.
    """
    lock = choose_runtime(facts, kind, str(session.device.address))
    if lock.is_in(facts):
        return facts
    blobs = _blobs(lock, progress)
    planned = _planned(lock, ask(session, blobs), blobs)
    if facts.disk_free_bytes < planned.need_bytes:
        raise DeployError(
            f"{session.device.address}: {facts.disk_free_bytes >> 20} MiB free, the runtime {lock.name} needs "
            f"{planned.need_bytes >> 20} MiB; nothing was sent",
            fix="free some space on the board",
        )
    send(session, blobs, progress=progress)
    entries = [{"name": wheel.name, "sha256": sha256, "bytes": wheel.stat().st_size} for sha256, wheel in blobs.items()]
    session.job("runtime.install", timeout_s=_INSTALL_TIMEOUT_S, progress=progress, lock=lock.name, wheels=entries)
    return session.facts()


def _blobs(lock: Lock, progress: Progress) -> dict[str, Path]:
    """Return the wheels by their digests, in the lock's order."""
    progress(f"fetch {lock.name}", 0, len(lock.pins))
    wheels = fetch(lock)
    progress(f"fetch {lock.name}", len(lock.pins), len(lock.pins))
    return dict(zip((pin.sha256 for pin in lock.pins), wheels, strict=True))


def _planned(lock: Lock, lacking: Lacking, blobs: dict[str, Path]) -> Provision:
    wheels = tuple(WheelFile(wheel.name, wheel.stat().st_size) for wheel in blobs.values())
    need = lacking.bytes_to_write + sum(map(_unpacked_bytes, blobs.values())) + SPARE_BYTES
    return Provision(lock.folder, False, wheels, lacking.bytes_to_send, need, lacking.free_bytes)


def _verified(lock: Lock, folder: Path) -> list[Path]:
    """Return the wheels in lock order when all are there and whole, else nothing."""
    found = {sha256_file(path): path for path in sorted(folder.glob("*.whl"))} if folder.is_dir() else {}
    wheels = [found[pin.sha256] for pin in lock.pins if pin.sha256 in found]
    return wheels if len(wheels) == len(lock.pins) else []


def _download(lock: Lock, folder: Path) -> None:
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]
    words += ["--require-hashes", "--only-binary=:all:", *pip_platform(lock.tag, lock.machine), "-r", str(lock.path), "--dest", str(folder)]
    fix = f"connect this host to the internet once, or put the wheels of {lock.path} where pip finds them: PIP_FIND_LINKS=FOLDER"
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=_FETCH_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"the wheels of {lock.name} did not arrive within {_FETCH_TIMEOUT_S:g} s", fix=fix) from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise DeviceError(f"the wheels of {lock.name} cannot be fetched: {said[-1] if said else 'pip said nothing'}", fix=fix)


def _unpacked_bytes(wheel: Path) -> int:
    with zipfile.ZipFile(wheel) as archive:
        return sum(entry.file_size for entry in archive.infolist())
