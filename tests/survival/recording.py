"""What a job did to the disk, operation by operation: `record` runs it and keeps the list, `tests.survival.disk` makes crash states of it.

The functions of ``os`` that change a file system are replaced while it records, and ``open`` is the implementation of it in Python, whose
every write is an ``os.write``. That nothing slips by is proved each time: the list, replayed, must give the very tree that is there.
"""

from __future__ import annotations

import _pyio  # type: ignore[import-not-found]
import builtins
import fcntl
import io
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Node", "Operation", "Recording", "record", "scan"]

ROOT = 0
"""The number of the folder that all is recorded below."""


@dataclass
class Node:
    """A file, folder or link as it is on a disk; numbers in ``names`` are those of other nodes."""

    kind: str
    mode: int = 0
    data: bytes = b""
    names: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """One change.

    ``create node`` (a node without a name), ``enter node name child``, ``leave node name child``, ``move node name child into as_name``,
    ``write node offset data``, ``cut node size``, ``mode node mode``, ``sync node`` (of that path, ``name``).
    """

    what: str
    node: int = ROOT
    name: str = ""
    child: int = ROOT
    into: int = ROOT
    as_name: str = ""
    offset: int = 0
    data: bytes = b""
    mode: int = 0
    made: Node | None = None


@dataclass
class Recording:
    """The tree before, and everything that was done to it."""

    root: Path
    before: dict[int, Node]
    operations: list[Operation] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._fresh = itertools.count(len(self.before))

    def _add(self, what: str, **fields: Any) -> None:
        self.operations.append(Operation(what, **fields))

    def number(self, path: str) -> int | None:
        """Return the node's number, None for one that is elsewhere."""
        return self.numbers.get(os.lstat(path).st_ino) if self._inside(path) else None

    def _inside(self, path: str) -> bool:
        return path == str(self.root) or path.startswith(f"{self.root}/")

    def _folder(self, path: str) -> int:
        return self.numbers[os.stat(os.path.dirname(path)).st_ino]

    def made(self, path: str) -> None:
        """Take in a new file, folder or link that has just got its name."""
        status = os.lstat(path)
        number = self.numbers[status.st_ino] = next(self._fresh)
        kind = "folder" if stat.S_ISDIR(status.st_mode) else "link" if stat.S_ISLNK(status.st_mode) else "file"
        data = os.readlink(path).encode() if kind == "link" else b""
        self._add("create", node=number, made=Node(kind, stat.S_IMODE(status.st_mode), data))
        self._add("enter", node=self._folder(path), name=os.path.basename(path), child=number)

    def linked(self, path: str) -> None:
        self._add("enter", node=self._folder(path), name=os.path.basename(path), child=self.numbers[os.lstat(path).st_ino])

    def left(self, path: str, number: int) -> None:
        self._add("leave", node=self._folder(path), name=os.path.basename(path), child=number)

    def moved(self, source: str, target: str, number: int) -> None:
        names = {"name": os.path.basename(source), "as_name": os.path.basename(target)}
        self._add("move", node=self._folder(source), child=number, into=self._folder(target), **names)

    def wrote(self, number: int, offset: int, data: bytes) -> None:
        self._add("write", node=number, offset=offset, data=data)

    def changed(self, what: str, number: int, value: int = 0) -> None:
        self._add(what, node=number, offset=value if what == "cut" else 0, mode=value if what == "mode" else 0)


def scan(root: Path) -> tuple[dict[int, Node], dict[int, int]]:
    """Read a tree: nodes by number, and the numbers of inodes; a file with several names is one node."""
    numbers = {root.lstat().st_ino: ROOT}
    nodes = {ROOT: Node("folder", stat.S_IMODE(root.lstat().st_mode))}
    for folder, folders, files in os.walk(root):
        for name in sorted(folders + files):
            path = Path(folder, name)
            status = path.lstat()
            number = numbers.setdefault(status.st_ino, len(numbers))
            nodes[numbers[os.lstat(folder).st_ino]].names[name] = number
            if number not in nodes:
                mode = stat.S_IMODE(status.st_mode)
                if stat.S_ISDIR(status.st_mode):
                    nodes[number] = Node("folder", mode)
                elif stat.S_ISLNK(status.st_mode):
                    nodes[number] = Node("link", mode, os.readlink(path).encode())
                else:
                    nodes[number] = Node("file", mode, path.read_bytes())
    return nodes, numbers


@contextmanager
def record(root: Path) -> Iterator[Recording]:
    """Record all that happens below a folder inside the block."""
    nodes, numbers = scan(root)
    recording = Recording(Path(os.path.realpath(root)), nodes, numbers=numbers)
    saved = {name: getattr(os, name) for name in _WRAPPED}
    opens = builtins.open, io.open
    try:
        for name, wrap in _WRAPPED.items():
            setattr(os, name, wrap(recording, saved[name]))
        builtins.open = io.open = _pyio.open
        yield recording
    finally:
        builtins.open, io.open = opens
        for name, original in saved.items():
            setattr(os, name, original)


Call = Callable[..., Any]


def _named(path: Any, folder: int | None = None) -> str:
    """Return where a path's own name stands, the links before it followed."""
    text = os.path.join(os.readlink(f"/proc/self/fd/{folder}") if folder is not None else "", os.fspath(path))
    return os.path.join(os.path.realpath(os.path.dirname(os.path.abspath(text))), os.path.basename(os.path.abspath(text)))


def _wrap_open(recording: Recording, call: Call) -> Call:
    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        where = _named(path, dir_fd)
        if not flags & os.O_NOFOLLOW:
            where = os.path.realpath(where)
        inside = recording._inside(where)
        new = inside and not os.path.lexists(where)
        handle: int = call(path, flags, mode, dir_fd=dir_fd)
        if new:
            recording.made(where)
        elif inside and flags & os.O_TRUNC:
            recording.changed("cut", recording.numbers[os.fstat(handle).st_ino])
        return handle

    return opened


def _wrap_write(recording: Recording, call: Call) -> Call:
    def written(handle: int, data: Any, *rest: int) -> int:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_ino not in recording.numbers:
            return int(call(handle, data, *rest))
        after = rest[0] if rest else None
        if after is None:
            appending = bool(fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_APPEND)
            after = status.st_size if appending else os.lseek(handle, 0, os.SEEK_CUR)
        count = int(call(handle, data, *rest))
        recording.wrote(recording.numbers[status.st_ino], after, bytes(memoryview(data).cast("B")[:count]))
        return count

    return written


def _wrap_copy(recording: Recording, call: Call) -> Call:
    def copied(target: int, source: int, *rest: Any) -> int:
        start = os.lseek(target, 0, os.SEEK_CUR)
        count = int(call(target, source, *rest))
        number = recording.numbers.get(os.fstat(target).st_ino)
        if number is not None and count:
            with io.FileIO(f"/proc/self/fd/{target}") as file:
                file.seek(start)
                recording.wrote(number, start, file.read(count) or b"")
        return count

    return copied


def _wrap_allocate(recording: Recording, call: Call) -> Call:
    def allocated(handle: int, offset: int, count: int) -> None:
        call(handle, offset, count)
        status = os.fstat(handle)
        if (number := recording.numbers.get(status.st_ino)) is not None:
            recording.changed("cut", number, status.st_size)

    return allocated


def _wrap_sync(recording: Recording, call: Call) -> Call:
    def synced(handle: int) -> None:
        call(handle)
        if (number := recording.numbers.get(os.fstat(handle).st_ino)) is not None:
            where = os.path.relpath(os.readlink(f"/proc/self/fd/{handle}"), recording.root)
            recording.operations.append(Operation("sync", node=number, name=where))

    return synced


def _wrap_made(recording: Recording, call: Call) -> Call:
    """Of mkdir and symlink: the new name is the one before the keywords and the mode."""

    def made(first: Any, *rest: Any, **words: Any) -> None:
        call(first, *rest, **words)
        target = rest[0] if rest and not isinstance(rest[0], int) else first
        path = _named(target, words.get("dir_fd"))
        if recording._inside(path):
            recording.made(path)

    return made


def _wrap_link(recording: Recording, call: Call) -> Call:
    def linked(source: Any, target: Any, **words: Any) -> None:
        call(source, target, **words)
        if recording._inside(_named(target)):
            recording.linked(_named(target))

    return linked


def _wrap_leave(recording: Recording, call: Call) -> Call:
    def gone(path: Any, *, dir_fd: int | None = None) -> None:
        where = _named(path, dir_fd)
        number = recording.number(where) if recording._inside(where) and os.path.lexists(where) else None
        call(path, dir_fd=dir_fd)
        if number is not None:
            recording.left(where, number)

    return gone


def _wrap_move(recording: Recording, call: Call) -> Call:
    def moved(source: Any, target: Any) -> None:
        start, end = _named(source), _named(target)
        number = recording.number(start) if os.path.lexists(start) else None
        call(source, target)
        if number is not None:
            recording.moved(start, end, number)

    return moved


def _wrap_change(what: str) -> Callable[[Recording, Call], Call]:
    def wrap(recording: Recording, call: Call) -> Call:
        def changed(path: Any, value: int, **words: Any) -> None:
            call(path, value, **words)
            if (number := recording.numbers.get(os.stat(path).st_ino)) is not None:
                recording.changed(what, number, value)

        return changed

    return wrap


_WRAPPED: dict[str, Callable[[Recording, Call], Call]] = {
    "open": _wrap_open,
    **dict.fromkeys(("write", "pwrite"), _wrap_write),
    "sendfile": _wrap_copy,
    "posix_fallocate": _wrap_allocate,
    **dict.fromkeys(("fsync", "fdatasync"), _wrap_sync),
    **dict.fromkeys(("mkdir", "symlink"), _wrap_made),
    "link": _wrap_link,
    **dict.fromkeys(("unlink", "remove", "rmdir"), _wrap_leave),
    **dict.fromkeys(("rename", "replace"), _wrap_move),
    **dict.fromkeys(("chmod", "fchmod"), _wrap_change("mode")),
    **dict.fromkeys(("truncate", "ftruncate"), _wrap_change("cut")),
}
