"""A disk that is full, or can no longer be written, from some operation on: what the kernel would say is said in its place."""

from __future__ import annotations

import _pyio  # type: ignore[import-not-found]
import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Starved", "starve"]

# What takes room (write(2), mkdir(2), symlink(2), link(2), open(2): ENOSPC), and what else changes a file system (EROFS).
_TAKES = ("write", "pwrite", "sendfile", "posix_fallocate", "mkdir", "symlink", "link")
_CHANGES = (*_TAKES, "unlink", "remove", "rmdir", "rename", "replace", "chmod", "fchmod", "truncate", "ftruncate")


class Starved:
    """Counts the operations below a folder that the fault would strike; from number ``after`` on it does."""

    def __init__(self, root: Path, number: int, after: int) -> None:
        self.root, self.number, self.after, self.count = os.path.realpath(root), number, after, 0

    def meet(self, path: str) -> None:
        """Count an operation; fail it when it is time."""
        if os.path.realpath(os.path.dirname(os.path.abspath(path))).startswith(self.root):
            self.count += 1
            if self.count > self.after:
                raise OSError(self.number, os.strerror(self.number), path)


def _path_of(words: tuple[Any, ...], name: str, folder: int | None) -> str:
    target = words[1] if name in ("symlink", "link", "rename", "replace") else words[0]
    if isinstance(target, int):
        return os.readlink(f"/proc/self/fd/{target}")
    return os.path.join(os.readlink(f"/proc/self/fd/{folder}") if folder is not None else "", os.fspath(target))


def _failing(name: str, call: Callable[..., Any], starved: Starved) -> Callable[..., Any]:
    def failing(*words: Any, **more: Any) -> Any:
        starved.meet(_path_of(words, name, more.get("dir_fd")))
        return call(*words, **more)

    return failing


def _opening(call: Callable[..., int], starved: Starved) -> Callable[..., int]:
    def opening(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        where = _path_of((path,), "open", dir_fd)
        new = bool(flags & os.O_CREAT) and not os.path.lexists(where)
        if new or (starved.number == errno.EROFS and flags & (os.O_WRONLY | os.O_RDWR)):
            starved.meet(where)
        return call(path, flags, mode, dir_fd=dir_fd)

    return opening


@contextmanager
def starve(root: Path, number: int, after: int) -> Iterator[Starved]:
    """Let what changes the folder fail with this error number from the operation ``after`` on.

    Parameters
    ----------
    number
        ``errno.ENOSPC`` or ``errno.EROFS``.
    """
    starved = Starved(root, number, after)
    names = _TAKES if number == errno.ENOSPC else _CHANGES
    saved, opens = {name: getattr(os, name) for name in (*names, "open")}, (builtins.open, io.open)
    try:
        for name in names:
            setattr(os, name, _failing(name, saved[name], starved))
        os.open = _opening(saved["open"], starved)
        builtins.open = io.open = _pyio.open
        yield starved
    finally:
        builtins.open, io.open = opens
        for name, original in saved.items():
            setattr(os, name, original)
