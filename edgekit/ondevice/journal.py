"""What happened to an app: ``apps/NAME/journal``, one JSON line per event, durable before the next step is taken.

Its last event of `STATES` says how the app's deployment stands, see `edgekit.ondevice.releases.standing`; `STEPS` lead up to one. Written
and read by the jobs ``deploy.*``; ``transfer.take`` writes its steps here too. A line is believed no more than any other input.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import tempfile
import time
from typing import Any, Callable, TypeVar

from .disk import fsync_path, make_folder, regular_bytes, write_file
from .wire import DIGEST, AgentError, strict_json

__all__ = ["STATES", "STEPS", "entries", "note", "reserve", "spending"]

T = TypeVar("T")

STEPS = ("received", "verified", "staged", "finished")
STATES = ("switching", "activated", "proven", "committed", "rolled-back", "inconsistent")
BECOMES = ("activated", "rolled-back")
DEPLOYMENT = re.compile(r"[0-9a-f]{16}")
JOURNAL, RESERVE = "journal", ".reserve"
# A line holds a few digests and a reason. Beyond the first size the file is written anew with the last lines of either kind; nobody writes
# one beyond the second, of which only the end is read.
LINE_MAX_BYTES, COMPACT_BYTES, READ_MAX_BYTES, KEPT_STATES, KEPT_STEPS = 4096, 1 << 18, 1 << 19, 200, 100
WHY_MAX = 1000  # characters
RESERVE_BYTES = 1 << 16  # given up so that a full disk does not keep a board from going back


def app_path(root: str, app: str, *names: str) -> str:
    """Return a path in an app's folder."""
    return os.path.join(root, "apps", app, *names)


def note(root: str, app: str, event: str, release: str | None, previous: str | None = None, **more: Any) -> None:
    """Write an event, durable on return. The caller holds the root `locked`."""
    folder = make_folder(app_path(root, app))
    entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, "release": release, "previous": previous}
    entry.update((key, value[:WHY_MAX] if isinstance(value, str) else value) for key, value in more.items() if value is not None)
    line = json.dumps(entry, allow_nan=False).encode("ascii")
    if len(line) > LINE_MAX_BYTES or _entry(line) is None:
        raise AgentError("bug", "this is no entry of a journal: %.300r" % entry)
    # The reserve is for what follows a switch: one that finds the disk full does not begin.
    size = _append(folder, line) if more.get("becomes") == "activated" else spending(folder, lambda: _append(folder, line))
    if size > COMPACT_BYTES:
        with contextlib.suppress(OSError):  # the long file serves as well
            _compact(root, app, folder)


def _append(folder: str, line: bytes) -> int:
    with open(os.open(os.path.join(folder, JOURNAL), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "ab") as file:
        # A line of its own, whatever a power cut left of the one before, or leaves of the one after: it may be zeros.
        file.write(b"\n" + line + b"\n")
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    fsync_path(folder)
    return size


def _compact(root: str, app: str, folder: str) -> None:
    found = entries(root, app)
    kept = {id(entry) for kind, count in ((STATES, KEPT_STATES), (STEPS, KEPT_STEPS)) for entry in _of(found, kind)[-count:]}
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".journal-")
    try:
        with open(handle, "wb") as file:
            for entry in found:
                if id(entry) in kept:
                    file.write(json.dumps(entry).encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, os.path.join(folder, JOURNAL))
    except BaseException:
        os.unlink(temporary)
        raise
    fsync_path(folder)


def _of(found: list[dict[str, Any]], kind: tuple[str, ...]) -> list[dict[str, Any]]:
    return [entry for entry in found if entry["event"] in kind]


def reserve(root: str, app: str) -> None:
    """Set room for a few lines aside, before a switch that may have to be undone on a full disk."""
    path = app_path(root, app, RESERVE)
    if regular_bytes(path) != RESERVE_BYTES:
        write_file(path, bytes(RESERVE_BYTES))


def spending(folder: str, write: Callable[[], T]) -> T:
    """Write, and where the disk is full once more with the app's reserve given up."""
    try:
        return write()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not _give_up_reserve(folder):
            raise
        return write()


def _give_up_reserve(folder: str) -> bool:
    try:
        os.unlink(os.path.join(folder, RESERVE))
    except FileNotFoundError:
        return False
    return True


def entries(root: str, app: str) -> list[dict[str, Any]]:
    """Return the events, the oldest first; a line that is torn, or not as `note` writes them, is passed over."""
    path = app_path(root, app, JOURNAL)
    size = regular_bytes(path)
    if size is None:
        return []
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        file.seek(max(0, size - READ_MAX_BYTES))
        lines = file.read(READ_MAX_BYTES).split(b"\n")
    return [entry for entry in map(_entry, lines) if entry is not None]


def _entry(line: bytes) -> dict[str, Any] | None:
    """Return what a line says; None when it is none of ours. What the edgekit before wrote has no ``deployment``."""
    try:
        entry = strict_json(line, "it", LINE_MAX_BYTES) if line else None
    except AgentError:
        return None
    if not isinstance(entry, dict):
        return None
    entry = {"time": "", "previous": None, "deployment": None, **entry}
    digests = [entry.get("release"), entry["previous"], *(entry.get(key) for key in ("earlier", "left", "wanted"))]
    numbers = [entry.get("deadline", 0), entry.get("deadline_s", 0)]
    sound = (
        entry.get("event") in STATES + STEPS
        and (entry["event"] != "switching" or entry.get("becomes") in BECOMES)
        and "release" in entry
        and all(digest is None or (isinstance(digest, str) and DIGEST.fullmatch(digest)) for digest in digests)
        and (entry["deployment"] is None or (isinstance(entry["deployment"], str) and DEPLOYMENT.fullmatch(entry["deployment"])))
        and all(type(number) in (int, float) and 0 <= number < 1 << 53 for number in numbers)
        and all(isinstance(entry.get(key, ""), str) for key in ("time", "why", "by", "boot", "before"))
        and isinstance(entry.get("proof", {}), dict)
    )
    return entry if sound else None
