"""A runtime for a board without internet: wheels, already received as blobs, unpacked into a folder of their own. Job `runtime.install`.

``runtimes/<lock>-<12 hex>``, named by the wheels in it, goes on the import path; the system's Python stays as it is. All applications share
it. A wheel is a zip whose top is the library (PEP 427); of its ``.data`` folder the two library parts are merged in, the rest has no use
here. What no link names and no process holds is removed; edgekit before this one named folders by the lock alone.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import struct
import zipfile
import zlib
from typing import Any, NamedTuple

from .chunks import forget
from .disk import blob_path, free_bytes, fsync_path, held, locked, make_folder, switch_link
from .runtimes import LINKS, runtimes_in
from .store import check_blob
from .wire import DIGEST, NAME, WHEEL, AgentError, Progress, integer, matching

__all__ = ["folder_name", "install", "sweep"]

UNPACKED_MAX_BYTES, MEMBERS_MAX, WHEELS_MAX = 2 << 30, 50_000, 100
NAME_HEX = 12
LEFTOVERS = (".tmp", ".old")
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)  # any other is of a tree of members that cannot be


class Wheel(NamedTuple):
    name: str
    sha256: str
    size: int


def folder_name(lock: str, digests: list[str]) -> str:
    """Name a runtime by its lock and by its wheels, in the lock's order: another wheel is another folder."""
    return "%s-%s" % (lock, hashlib.sha256("\n".join(digests).encode("ascii")).hexdigest()[:NAME_HEX])


def install(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Unpack the wheels of a lock, prove that the runtime imports, and make it the current one of its kind."""
    lock, wheels = matching(job.get("lock"), NAME, "lock"), _wheels(job)
    name = folder_name(lock, [wheel.sha256 for wheel in wheels])
    with locked(root):
        folder = os.path.join(make_folder(os.path.join(root, "runtimes")), name)
        found = runtimes_in(folder) if os.path.isdir(folder) else []
        installed = not found or found[0]["error"] is not None
        if installed:
            if os.path.isdir(folder) and held(folder):
                text = "%s is damaged, and a program is running with it" % folder
                raise AgentError("state", text, "stop the programs that use the model, then run it again")
            found = [{**_replace(root, folder, wheels, progress), "lock": name}]
        switch_link(os.path.join(root, "runtimes", LINKS[found[0]["kind"]]), name)
        for wheel in wheels:
            _forget(root, wheel)
        removed = sweep(root)
    return {"lock": name, "installed": installed, "runtime": found[0], "removed": removed}


def sweep(root: str) -> list[str]:
    """Remove the runtimes that no link names and nobody holds, and what was left half made; the caller holds the root `locked`."""
    folder = os.path.join(root, "runtimes")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    paths = {name: os.path.join(folder, name) for name in names}
    named = {os.readlink(path) for path in paths.values() if os.path.islink(path)}
    gone = []
    for name, path in paths.items():
        if os.path.islink(path) or not os.path.isdir(path) or name in named or held(path):
            continue
        if not name.endswith(LEFTOVERS):
            gone.append(name)
            os.rename(path, path + LEFTOVERS[1])  # half removed, it must not look like a runtime
            path += LEFTOVERS[1]
        shutil.rmtree(path, ignore_errors=True)
    return gone


def _wheels(job: dict[str, Any]) -> list[Wheel]:
    listed = job.get("wheels")
    if not isinstance(listed, list) or not len(listed) <= WHEELS_MAX or not all(isinstance(entry, dict) for entry in listed):
        raise AgentError("usage", "runtime.install needs a lock's name, and wheels as name, sha256 and bytes")
    return [
        Wheel(
            matching(entry.get("name"), WHEEL, "a wheel's name"),
            matching(entry.get("sha256"), DIGEST, "a wheel's sha256"),
            integer(entry, "bytes", 0, UNPACKED_MAX_BYTES),
        )
        for entry in listed
    ]


def _forget(root: str, wheel: Wheel) -> None:
    """Remove a wheel that was unpacked: it would take its room for good."""
    forget(root, wheel.sha256)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(blob_path(root, wheel.sha256))


def _replace(root: str, folder: str, wheels: list[Wheel], progress: Progress) -> dict[str, Any]:
    """Unpack beside, prove the import there, then swap: what stood there goes only when the new one works."""
    temporary, old = folder + LEFTOVERS[0], folder + LEFTOVERS[1]
    try:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)
        os.mkdir(temporary, 0o700)
        for done, wheel in enumerate(wheels):
            progress("install", done, len(wheels))
            blob = check_blob(root, wheel.sha256, wheel.size, wheel.name)
            try:
                with zipfile.ZipFile(blob) as archive:
                    _unpack(archive, wheel.name, temporary)
            except (zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, RuntimeError, OSError) as error:
                if getattr(error, "errno", None) in DISK_ERRORS:
                    raise
                raise AgentError("input", "%s is no wheel: %s" % (wheel.name, error)) from error
        found = runtimes_in(temporary) or [{"error": "there is no runtime among the wheels"}]
        if found[0]["error"] is not None:
            raise AgentError("runtime-failed", "%s does not import on this board: %s" % (os.path.basename(folder), found[0]["error"]))
        os.sync()  # thousands of small files: once for all is many times faster on a card than one by one
        if os.path.lexists(folder):
            os.rename(folder, old)
        os.rename(temporary, folder)
        fsync_path(os.path.dirname(folder))
        return found[0]
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _unpack(archive: zipfile.ZipFile, wheel: str, folder: str) -> None:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    total = sum(info.file_size for info in infos)
    if len(infos) > MEMBERS_MAX or total > UNPACKED_MAX_BYTES:
        raise AgentError("input", "%s would unpack to %d files and %d bytes" % (wheel, len(infos), total))
    if total > free_bytes(folder):
        raise AgentError("no-space", "%s needs %d bytes" % (wheel, total))
    for info in infos:
        parts = info.filename.split("/")
        plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG) and info.compress_type in (0, zipfile.ZIP_DEFLATED)
        if not plain or "\\" in info.filename or any(part in ("", ".", "..") for part in parts):
            raise AgentError("input", "%s: the member %.200r is refused" % (wheel, info.filename))
        if parts[0].endswith(".data"):
            if len(parts) < 3 or parts[1] not in ("purelib", "platlib"):
                continue
            parts = parts[2:]
        path = os.path.join(folder, *parts)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        # The stream ends at the size that the directory declares, and its checksum is verified at the end.
        with archive.open(info) as source, open(path, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
