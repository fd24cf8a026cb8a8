"""Boards for the tests of engines: real sshd, real agent, real edgekit; NVIDIA's software on them is the doubles of ``tests/standin``.

What passes here proves edgekit's own way of building, fetching and deploying engines. Of TensorRT it proves nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.command import Said
from tests.integration.conftest import Lab, Sshd
from tests.integration.test_line import copy_demo
from tests.standin.board import standin_python

__all__ = ["Bench", "EngineBoard", "Running", "start", "until"]

_WAIT_S = 60.0


@dataclass(frozen=True)
class EngineBoard:
    """A board behind an sshd.

    Attributes
    ----------
    root
        edgekit's folder there.
    journal
        One line for each build that began there.
    gate
        Builders wait in the middle until this file is there, on boards that were made with one.
    """

    name: str
    server: Sshd
    port: int
    root: Path
    python: str
    journal: Path
    gate: Path

    @property
    def builds(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.journal.read_text().splitlines()] if self.journal.exists() else []

    @property
    def blobs(self) -> list[str]:
        return sorted(path.name for path in (self.root / "blobs" / "sha256").rglob("*") if path.is_file())

    @property
    def connections(self) -> int:
        """How many there have been."""
        return self.server.log.count("Accepted publickey")

    def cut(self) -> None:
        """Kill the processes that serve connections, as a cut cable does; what was started detached lives on."""
        serving = [pid for pid in _processes() if _parent(pid) == self.server.process.pid]
        assert serving, "nobody is connected"
        for pid in serving:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _parent(pid: int) -> int | None:
    try:
        # The name, in parentheses, may hold anything; the parent is the second field behind it (proc_pid_stat(5)).
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


class Bench:
    """Makes boards and the project that names them."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab, self._folder = lab, folder
        self.project = copy_demo(folder / "project")

    def board(self, name: str, settings: dict[str, str] | None = None, *, gated: bool = False, **software: Any) -> EngineBoard:
        """Make a board, and name it in the project."""
        server = self._lab.serve()
        folder = self._folder / name
        journal, gate = folder.with_suffix(".journal"), folder.with_suffix(".gate")
        said = {"STANDIN_JOURNAL": str(journal), **({"STANDIN_GATE": str(gate)} if gated else {}), **(settings or {})}
        python = standin_python(folder, said, **software)
        device = self._lab.device(server.port, root=folder / "root")
        with (self.project / "edgekit.toml").open("a") as file:
            address = f"{device.address.user}@{device.address.host}:{device.address.port}"
            file.write(f'\n[devices.{name}]\naddress = "{address}"\nroot = "{device.root}"\npython = "{python}"\n')
        return EngineBoard(name, server, server.port, Path(device.root), python, journal, gate)


@dataclass(frozen=True)
class Running:
    """A command that has been started and not waited for."""

    process: subprocess.Popen[str]

    def end(self) -> Said:
        out, err = self.process.communicate(timeout=_WAIT_S)
        return Said(self.process.returncode, out, err)


def start(*words: str, cwd: Path) -> Running:
    """Start ``edgekit WORDS`` in a folder."""
    command = [sys.executable, "-m", "edgekit", *words]
    return Running(subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))


def until(happened: Callable[[], object], what: str) -> None:
    """Wait for something that a process beside us does."""
    end_s = time.monotonic() + _WAIT_S
    while not happened():
        if time.monotonic() > end_s:
            raise AssertionError(f"it never happened: {what}")
        time.sleep(0.05)
