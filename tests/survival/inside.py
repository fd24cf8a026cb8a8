"""A board inside this process: the scripts and jobs that the host sends run here, so that every change they make can be recorded.

The order of a deployment, the protocol, the jobs and the watchdog are the real ones; only processes and SSH are left out, and the job
``facts``, which changes nothing and takes a second, is asked once.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from edgekit import devices
from edgekit.device import Address, Device
from edgekit.devices import Completed
from edgekit.devices.local import LocalConnection
from edgekit.ondevice import agent, disk, prove, watch
from edgekit.ondevice.stdin import Stdin
from edgekit.ondevice.wire import AgentError, encode_event, encode_job

__all__ = ["InsideConnection", "inside"]

_WATCHDOGS: list[threading.Thread] = []
_WATCHDOG_END_S = 2.0


class InsideConnection(LocalConnection):
    """Commands without a process; files as `LocalConnection` moves them."""

    facts: bytes = b""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | Iterable[bytes] = b"",
        hold: bool = False,
        timeout_s: float,
        on_line: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """See `edgekit.devices.Connection.run`."""
        words = [os.path.expanduser(word) for word in argv]
        data = stdin if isinstance(stdin, bytes) else b"".join(stdin)
        if words[1] == "-c":
            return _script(words[2], words[3:], data)
        job = json.loads(data.partition(b"\n")[0])["job"]
        rc, answer = (0, self.facts) if job == "facts" and self.facts else _agent(data)
        if job == "facts":
            InsideConnection.facts = answer
        for line in answer.splitlines():
            if on_line:
                on_line(line)
        return Completed(rc=rc, stdout=b"", stderr=b"")


def _script(text: str, words: list[str], data: bytes) -> Completed:
    out = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["-c", *words]),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(data))),
        contextlib.redirect_stdout(out),
    ):
        try:
            exec(compile(text, "script", "exec"), {"__name__": "__main__"})
        except (SystemExit, OSError) as error:
            return Completed(rc=1, stdout=out.getvalue().encode(), stderr=str(error).encode())
    return Completed(rc=0, stdout=out.getvalue().encode(), stderr=b"")


class _Given(Stdin):
    """What the host sends, all there from the start; that it ends says nothing of the host."""

    def __init__(self, data: bytes) -> None:
        handle = os.memfd_create("stdin")
        with open(handle, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(handle, 0, os.SEEK_SET)
        super().__init__(handle)

    def tether(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        os.close(self._handle)


def _agent(data: bytes) -> tuple[int, bytes]:
    """Do what `edgekit.ondevice.agent.main` does, without taking the descriptors and signals of its process."""
    wire = io.BytesIO()
    with contextlib.closing(_Given(data)) as stdin:
        try:
            wire.write(encode_event({"event": "result", "data": agent._run(wire, stdin)}))
        except AgentError as error:
            wire.write(encode_event({"event": "error", "kind": error.kind, "message": error.message, "fix": error.fix}))
            return 1, wire.getvalue()
        except OSError as error:
            kind = "no-space" if error.errno == errno.ENOSPC else "state"
            wire.write(encode_event({"event": "error", "kind": kind, "message": str(error), "fix": None}))
            return 1, wire.getvalue()
    return 0, wire.getvalue()


def _child(name: str, root: str, fields: dict[str, Any], *_: Any) -> dict[str, Any]:
    rc, answer = _agent(encode_job(name, root, fields))
    last: dict[str, Any] = json.loads(answer.splitlines()[-1])
    if rc:
        raise AgentError(last["kind"], last["message"])
    data: dict[str, Any] = last["data"]
    return data


def _watchdog(request: str, log: str) -> None:
    Path(log).touch()
    job = json.loads(Path(request).read_bytes())

    def run() -> None:
        with contextlib.suppress(OSError, AgentError):  # a process would say why in its log, and end
            watch.watch(job, job["root"], lambda *_: None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    _WATCHDOGS.append(thread)


@contextlib.contextmanager
def inside(root: Path) -> Iterator[Device]:
    """Make this process the board whose store is at ``root``."""
    with (
        mock.patch.dict(devices.CONNECTIONS, {"local": f"{__name__}:InsideConnection"}),
        mock.patch.object(prove, "_child", _child),
        mock.patch.object(watch, "_by_systemd", return_value=False),
        mock.patch.object(watch, "_by_itself", _watchdog),
        mock.patch.object(disk, "CLAIM_PAUSE_S", 0.0005),
        mock.patch.object(watch, "START_TIMEOUT_S", 1.0),
        mock.patch.object(watch, "PERIOD_S", 0.001),
        mock.patch.object(watch, "POLL_S", 0.001),
        mock.patch.object(os, "chdir"),
    ):
        yield Device(name="local", address=Address.parse("local"), root=str(root))
        while _WATCHDOGS:  # they end when their deployment is decided
            _WATCHDOGS.pop().join(_WATCHDOG_END_S)
