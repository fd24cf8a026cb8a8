"""Engines on the board: ``engines/<digest of the key>/``, each whole or not at all, and who is building one.

Used by `build` and `work`, and by what opens engines. A builder holds ``<digest>.lock`` from before it is started until it has ended; the
kernel lets go when the last process that holds it dies. ``<digest>.work/`` is where it works; a failed one leaves its reason there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from typing import Any

from ..disk import fsync_path, make_folder, regular_bytes, sha256_file
from ..wire import AgentError, strict_json
from .key import digest_of, timing_digest_of

__all__ = [
    "ACCOUNT",
    "ACCOUNT_MAX_BYTES",
    "ENGINE",
    "FILES",
    "LAYERS",
    "LOG",
    "TIMING",
    "busy",
    "engine_path",
    "finish",
    "read",
    "read_json",
    "take",
    "timing_start",
    "work_path",
    "write_json",
]

ENGINE, TIMING, LAYERS, LOG, ACCOUNT = "engine.plan", "timing.cache", "layers.json", "build.log", "engine.json"
FILES = (ENGINE, TIMING, LAYERS, LOG)
ACCOUNT_MAX_BYTES = 4 << 20  # node names of a large network, twice


def engine_path(root: str, digest: str) -> str:
    """Return an engine's folder."""
    return os.path.join(root, "engines", digest)


def work_path(root: str, digest: str) -> str:
    """Return the folder that an engine is built in."""
    return engine_path(root, digest) + ".work"


def read(root: str, digest: str) -> dict[str, Any] | None:
    """Return a whole engine's account (key, files, ...): every file there with its size and digest; None when it is not whole."""
    folder = engine_path(root, digest)
    account = read_json(os.path.join(folder, ACCOUNT))
    if account is None or digest_of(account["key"]) != digest or not set(FILES) <= set(account["files"]):
        return None
    for name, file in account["files"].items():
        path = os.path.join(folder, name)
        if regular_bytes(path) != file["bytes"] or sha256_file(path) != file["sha256"]:
            return None
    return account


def finish(root: str, key: dict[str, Any], told: dict[str, Any]) -> None:
    """Make the engine in its work folder the engine of its key: bytes first, then the name. Nothing writes there any more."""
    digest = digest_of(key)
    work, final = work_path(root, digest), engine_path(root, digest)
    files = {}
    for name in FILES:
        path = os.path.join(work, name)
        if name == TIMING and not os.path.exists(path):  # a builder that keeps none: every build times everything
            open(path, "wb").close()
        files[name] = {"sha256": sha256_file(path), "bytes": os.lstat(path).st_size}
        fsync_path(path)
    for name in set(os.listdir(work)) - set(FILES):
        os.unlink(os.path.join(work, name))
    write_json(os.path.join(work, ACCOUNT), {"key": key, "files": files, **told})
    fsync_path(os.path.join(work, ACCOUNT))
    fsync_path(work)
    if os.path.isdir(final):  # damaged, or we would not have built it
        shutil.rmtree(final)
    os.rename(work, final)
    fsync_path(os.path.dirname(final))


def take(root: str, digest: str) -> int | None:
    """Take the right to build an engine; None when a builder has it. It is given back when every copy of the descriptor is closed."""
    path = os.path.join(make_folder(os.path.join(root, "engines")), digest + ".lock")
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def busy(root: str, digest: str) -> bool:
    """Return whether a builder is at work."""
    lock = take(root, digest)
    if lock is not None:
        os.close(lock)
    return lock is None


def timing_start(root: str, key: dict[str, Any]) -> bytes:
    """Return what this kind of board has timed already: in a failed attempt at this engine, or for the newest other one; may be empty."""
    found = [os.path.join(work_path(root, digest_of(key)), TIMING)]
    others = sorted(os.scandir(make_folder(os.path.join(root, "engines"))), key=lambda entry: -entry.stat().st_mtime)
    for entry in others:
        account = read_json(os.path.join(entry.path, ACCOUNT))
        if account is not None and timing_digest_of(account["key"]) == timing_digest_of(key):
            found.append(os.path.join(entry.path, TIMING))
    for path in found:
        with contextlib.suppress(FileNotFoundError):
            with open(path, "rb") as file:
                return file.read()
    return b""


def read_json(path: str) -> dict[str, Any] | None:
    """Return a table that our own processes wrote; None when there is none, or only part of one."""
    try:
        with open(path, "rb") as file:
            value = strict_json(file.read(ACCOUNT_MAX_BYTES + 1), path, ACCOUNT_MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError, AgentError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: str, value: dict[str, Any]) -> None:
    """Write a table, the old one or the new one at every instant."""
    temporary = path + ".new"
    with open(temporary, "w", encoding="ascii") as file:
        json.dump(value, file)
    os.replace(temporary, path)
