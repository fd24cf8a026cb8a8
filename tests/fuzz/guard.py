"""What a hostile input must not do: hang, write beside the sandbox, run a program, signal a process.

An audit hook (PEP 578) sees each of these wherever it is called from. It stays in the process and is silent outside `watched`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

CASE_TIMEOUT_S = 20.0
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Event -> which of its arguments are paths that change, each with its folder's descriptor (-1 or absent: none).
CHANGES: dict[str, tuple[tuple[int, int | None], ...]] = {
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.link": ((1, 3),),
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.rmdir": ((0, 1),),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
    "os.utime": ((0, 3),),
}
PROGRAMS = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn", "subprocess.Popen"}
SIGNALS = {"os.kill", "os.killpg", "signal.pthread_kill"}


class Breach(BaseException):
    """An input made the code do what it must not; no code under test may catch it by accident."""


class _Guard:
    """Which folder may be written to, now, and what was done beside it."""

    def __init__(self) -> None:
        self.inside: str | None = None
        self.programs: frozenset[str] = frozenset()
        self.breaches: list[str] = []

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if self.inside is None:
            return
        if event == "open":
            path, mode, flags = args
            if isinstance(path, (str, bytes, os.PathLike)) and ((flags or 0) & WRITES or any(letter in (mode or "") for letter in "wax+")):
                self._write(event, path, None)
        elif event in CHANGES:
            for place, folder in CHANGES[event]:
                self._write(event, args[place], args[folder] if folder is not None and folder < len(args) else None)
        elif event in SIGNALS or (event in PROGRAMS and os.path.basename(str(args[0] if args else "")) not in self.programs):
            self.breaches.append(f"{event}{args!r:.200}")
            raise PermissionError(f"{event} in the sandbox")

    def _write(self, event: str, path: Any, folder: int | None) -> None:
        assert self.inside is not None
        if isinstance(path, int):
            real = os.path.realpath(f"/proc/self/fd/{path}")
        else:
            below = f"/proc/self/fd/{folder}" if folder is not None and folder >= 0 else ""
            parent, name = os.path.split(os.path.abspath(os.path.join(below, os.fsdecode(path))))
            real = os.path.join(os.path.realpath(parent), name)
        if not f"{real}/".startswith(f"{self.inside}/") and real != os.devnull:
            self.breaches.append(f"{event} {real}")
            raise PermissionError(f"{event} {real} is not in the sandbox")


_guard = _Guard()
_installed: list[_Guard] = []


@contextmanager
def watched(folder: Path, programs: frozenset[str] = frozenset()) -> Iterator[None]:
    """Run one case: `Breach` when it writes outside the folder, runs a program that is not named, or takes too long."""
    if not _installed:
        sys.addaudithook(_guard)
        _installed.append(_guard)

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Breach(f"took longer than {CASE_TIMEOUT_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    compiled, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # a module's first import may come in the middle of a case
    _guard.inside, _guard.programs, _guard.breaches = str(folder.resolve()), programs, []
    signal.setitimer(signal.ITIMER_REAL, CASE_TIMEOUT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _guard.inside, sys.dont_write_bytecode = None, compiled
        signal.signal(signal.SIGALRM, before)
    if _guard.breaches:
        raise Breach("; ".join(_guard.breaches))


def snapshot(folder: Path, but: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return what stands in a folder, except below another: mode, size and bytes or link by path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if but == path or but in path.parents:
            continue
        status = path.lstat()
        data = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_size if data else 0, data)
    return found
