"""A board inside this process: the scripts and jobs that the host sends run here, so that every change they make can be recorded.

The order of a deployment, the protocol and the jobs are the real ones; only processes and SSH are left out.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from unittest import mock

from edgekit import devices
from edgekit.device import Address, Device
from edgekit.devices import Completed
from edgekit.devices.local import LocalConnection
from edgekit.ondevice import agent
from edgekit.ondevice.stdin import Stdin
from edgekit.ondevice.wire import AgentError, encode_event

__all__ = ["InsideConnection", "inside"]


class InsideConnection(LocalConnection):
    """Commands without a process; files as `LocalConnection` moves them."""

    facts: bytes = b""
    """What this machine answered to the job ``facts``, which changes nothing and takes a second: asked once."""

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
        stdin = b"".join(devices.pieces_of(stdin))
        if words[1] == "-c":
            return _script(words[2], words[3:], stdin)
        job = json.loads(stdin.partition(b"\n")[0])["job"]
        if job == "facts" and InsideConnection.facts:
            rc, answer = 0, InsideConnection.facts
        else:
            rc, answer = _agent(stdin)
        if job == "facts":
            InsideConnection.facts = answer
        for line in answer.splitlines():
            if on_line:
                on_line(line)
        return Completed(rc=rc, stdout=b"", stderr=b"")


def _script(text: str, words: list[str], stdin: bytes) -> Completed:
    out, code = io.StringIO(), 0
    given = mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    with given, mock.patch.object(sys, "argv", ["-c", *words]), contextlib.redirect_stdout(out):
        try:
            exec(compile(text, "script", "exec"), {"__name__": "__main__"})
        except SystemExit as error:
            return Completed(rc=1, stdout=out.getvalue().encode(), stderr=str(error).encode())
    return Completed(rc=code, stdout=out.getvalue().encode(), stderr=b"")


def _agent(stdin: bytes) -> tuple[int, bytes]:
    """Do what `edgekit.ondevice.agent.main` does, without taking the descriptors and signals of its process."""
    wire = io.BytesIO()
    given, giving = os.pipe()
    feeding = threading.Thread(target=_feed, args=(giving, stdin))
    feeding.start()
    try:
        wire.write(encode_event({"event": "result", "data": agent._run(wire, Stdin(given))}))
    except AgentError as error:
        wire.write(encode_event({"event": "error", "kind": error.kind, "message": error.message, "fix": error.fix}))
        return 1, wire.getvalue()
    finally:
        os.close(given)
        feeding.join()
    return 0, wire.getvalue()


def _feed(handle: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(handle, "wb", buffering=0) as pipe:
        pipe.write(data)


@contextlib.contextmanager
def inside(root: Path) -> Iterator[Device]:
    """Make this process the board whose store is at ``root``."""
    with mock.patch.dict(devices.CONNECTIONS, {"local": f"{__name__}:InsideConnection"}):
        yield Device(name="local", address=Address.parse("local"), root=str(root))
