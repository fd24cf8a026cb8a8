"""A runtime for a board without internet: wheels, already received as blobs, unpacked into a folder of their own. Job `runtime.install`.

``runtimes/<lock>`` goes on the import path, the system's Python stays as it is. A wheel is a zip whose top is the library (PEP 427); of its
``.data`` folder the two library parts are merged in, the rest has no use here.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import struct
import zipfile
import zlib
from typing import Any

from .disk import free_bytes, fsync_path, locked, make_folder, switch_link
from .runtimes import LINKS, runtimes_in
from .store import check_blob
from .wire import DIGEST, NAME, WHEEL, AgentError, Progress, integer, matching

UNPACKED_MAX_BYTES, MEMBERS_MAX = 2 << 30, 50_000
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)  # any other is of a tree of members that cannot be


def install(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Unpack wheels as the runtime ``lock``, prove that it imports, and make it the current one of its kind."""
    lock, wheels = matching(job.get("lock"), NAME, "lock"), job.get("wheels")
    reserved = lock.startswith("current") or lock.endswith((".tmp", ".old"))
    if reserved or not isinstance(wheels, list) or not all(isinstance(wheel, dict) for wheel in wheels):
        raise AgentError("usage", "runtime.install needs a lock's name, and wheels as name, sha256 and bytes")
    with locked(root):
        folder = os.path.join(make_folder(os.path.join(root, "runtimes")), lock)
        found = runtimes_in(folder) if os.path.isdir(folder) else []
        installed = not found or found[0]["error"] is not None
        if installed:
            found = [{**_replace(root, folder, wheels, progress), "lock": lock}]
        switch_link(os.path.join(root, "runtimes", LINKS[found[0]["kind"]]), lock)
    return {"lock": lock, "installed": installed, "runtime": found[0]}


def _replace(root: str, folder: str, wheels: list[Any], progress: Progress) -> dict[str, Any]:
    """Unpack beside, prove the import there, then swap: what stood there goes only when the new one works."""
    temporary, old = folder + ".tmp", folder + ".old"
    try:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)
        os.mkdir(temporary, 0o700)
        for done, wheel in enumerate(wheels):
            name, digest = matching(wheel.get("name"), WHEEL, "a wheel's name"), matching(wheel.get("sha256"), DIGEST, "a wheel's sha256")
            progress("install", done, len(wheels))
            blob = check_blob(root, digest, integer(wheel, "bytes", 0, UNPACKED_MAX_BYTES), name)
            try:
                with zipfile.ZipFile(blob) as archive:
                    _unpack(archive, name, temporary)
            except (zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, RuntimeError, OSError) as error:
                if getattr(error, "errno", None) in DISK_ERRORS:
                    raise
                raise AgentError("input", "%s is no wheel: %s" % (name, error)) from error
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
