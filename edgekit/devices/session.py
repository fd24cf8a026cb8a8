"""The agent on a device: put there once, then one process per job, JSON lines both ways.

Called by the pipeline and by `edgekit.devices.provision`. The lines' format is `edgekit.ondevice.wire`; nothing a
device says is believed before it has been checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from types import TracebackType
from typing import Any

import msgspec

from edgekit.device import Device, Facts
from edgekit.devices import Connection, Progress
from edgekit.devices.keep import by_hand
from edgekit.devices.pack import agent_archive
from edgekit.devices.python import DevicePython, find_python, install_agent
from edgekit.devices.shell import quote
from edgekit.errors import BusyError, DeployError, DeviceError, EdgekitError, InconsistentError, InputError
from edgekit.ondevice.wire import IMPORT_TIMEOUT_S, AgentError, decode_event, encode_job
from edgekit.printable import printable

__all__ = ["AgentSession", "silent"]

# Three runtimes, each in edgekit's folder and in the system's Python, TensorRT, trtexec and the GPU's driver are tried one after the other.
_FACTS_TIMEOUT_S = 9.0 * IMPORT_TIMEOUT_S + 60.0
_TAIL_LINES = 12

_KINDS: dict[str, type[EdgekitError]] = {
    "input": InputError,
    "usage": DeviceError,
    "runtime-missing": DeviceError,
    "runtime-failed": DeviceError,
    "no-space": DeployError,
    "mismatch": DeployError,
    "state": DeployError,
    "busy": BusyError,
    "stopped": DeviceError,
    "bug": DeviceError,
    "untrusted": DeployError,
    "undone": DeployError,
    "inconsistent": InconsistentError,
}
# What mends it is ours to say: a device must not put a command into the user's hands.
_FIXES = {
    "runtime-missing": "edgekit device setup DEVICE",
    "no-space": "free some space on the board",
    "untrusted": "sign it with a key the board allows: edgekit sign BUNDLE --key KEY; who may: edgekit device trust DEVICE",
    "mismatch": "run the same command again",
    "busy": "wait until it is over, then run the same command again; if its holder is gone: edgekit device release DEVICE --force",
}


def silent(stage: str, done: int, total: int) -> None:
    """Ignore progress."""


class AgentSession:
    """Jobs on one device over one open connection. As a context manager it starts itself.

    Parameters
    ----------
    connection
        Stays the caller's to close.

    Attributes
    ----------
    lease
        Token of the lease that every job carries; at first that of one this user has taken by hand.
    """

    def __init__(self, connection: Connection, device: Device, *, lease: str | None = None) -> None:
        self.connection = connection
        self.device = device
        self.lease = lease or by_hand(device)
        self._where = str(device.address)
        self._agent = ""
        self._python: DevicePython | None = None

    def start(self) -> None:
        """Find the device's Python and put the agent beside it, unless that very agent is there.

        Raises
        ------
        DeviceError
            No Python, too old a Python, or a device that does not answer as one.
        DeployError
            No room for the agent.
        """
        name, data = agent_archive()
        python = find_python(self.connection, self.device, name, data)
        agent = f"{self.device.root}/agent/{name}"
        if not python.has_agent:
            install_agent(self.connection, self.device, python, agent, data)
        self._python, self._agent = python, agent

    def __enter__(self) -> AgentSession:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing is held open: each job was a process of its own."""

    def job(
        self,
        name: str,
        *,
        timeout_s: float,
        progress: Progress = silent,
        payload: Iterable[bytes] = (),
        on_part: Callable[[dict[str, Any]], None] | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Run a job and return its result. The job ends when we go: see `edgekit.ondevice.stdin`.

        Parameters
        ----------
        payload
            What follows the job's line, for one that takes it.
        on_part
            Called with each part of an answer that comes in parts, before the result.
        fields
            What the job takes, as JSON values.

        Raises
        ------
        InputError
            The device found a model, a sample set or a manifest to be wrong; or the job is too long to be sent.
        BusyError
            Somebody else holds the device, or another agent is changing its store.
        DeployError
            No room, a digest that differs, or a store that is not in the state the job needs.
        DeviceError
            No runtime, a runtime that refuses or crashes, or answers that are none.
        LinkError
            The connection broke.
        DeadlineError
            The job did not end in ``timeout_s``.
        """
        if self._python is None:
            raise RuntimeError("the session has not been started")
        results: list[dict[str, Any]] = []
        failures: list[EdgekitError] = []

        def take(line: bytes) -> None:
            event = self._decode(line, name, after_end=bool(results or failures))
            if event["event"] == "progress":
                progress(event["stage"], event["done"], event["total"])
            elif event["event"] == "part":
                if on_part is None:
                    raise DeviceError(f"{self._where}: job {name}: the device answered in parts, which it was not asked to")
                on_part(event["data"])
            elif event["event"] == "result":
                results.append(event["data"])
            else:
                failures.append(self._failure(name, event))

        words = [self._python.path, self._agent]
        try:
            line = encode_job(name, self.device.root, {**({"lease": self.lease} if self.lease else {}), **fields, "tether": True})
        except (AgentError, ValueError) as error:
            raise InputError(f"{self._where}: job {name} cannot be sent: {error}") from error
        done = self.connection.run(words, stdin=chain([line], payload), hold=True, timeout_s=timeout_s, on_line=take)
        if failures:
            raise failures[0]
        if not results or done.rc != 0:
            raise self._crash(name, done.rc, done.stderr)
        return results[0]

    def facts(self, runtime: str | None = None) -> Facts:
        """Ask the device what it is.

        Parameters
        ----------
        runtime
            The one kind of runtime that matters; None asks for all, which are imported one after the other.

        Raises
        ------
        DeviceError
            It does not say, or not in the form expected.
        """
        data = self.job("facts", timeout_s=_FACTS_TIMEOUT_S, runtime=runtime)
        try:
            return msgspec.convert(data, Facts)
        except msgspec.ValidationError as error:
            raise DeviceError(f"{self._where}: the device's facts are not as they must be: {error}") from error

    def _decode(self, line: bytes, name: str, *, after_end: bool) -> dict[str, Any]:
        try:
            if after_end:
                raise AgentError("usage", "nothing may follow the result")
            event: dict[str, Any] = _shown(decode_event(line, name))
            return event
        except AgentError as error:
            raise DeviceError(
                f"{self._where}: job {name}: the device answered {line[:200]!r}: {printable(error.message)}",
                fix="if a start-up file of the login shell prints something, make it silent for sessions that are not interactive",
            ) from error

    def _failure(self, name: str, event: dict[str, Any]) -> EdgekitError:
        kind = "a bug in the agent: " if event["kind"] == "bug" else ""
        advice = f" (the device says: {event['fix']})" if event["fix"] else ""
        fix = _FIXES.get(event["kind"], "").replace("DEVICE", quote(self.device.name)) or None
        return _KINDS[event["kind"]](f"{self._where}: {kind}{event['message']}{advice}", fix=fix)

    def _crash(self, name: str, rc: int, stderr: bytes) -> DeviceError:
        # A shell reports a signal n as 128 + n (POSIX, shell command language, 2.8.2).
        died = f"was killed by signal {rc - 128 if rc > 128 else -rc}" if rc > 128 or rc < -1 else f"ended with status {rc}"
        if rc == -1:
            died = "was killed by a signal"
        return DeviceError(f"{self._where}: job {name}: the agent {died} without an answer{_tail(stderr)}")


def _tail(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", errors="replace").strip().splitlines()[-_TAIL_LINES:]
    return "".join(f"\n    {printable(line)}" for line in lines)


def _shown(value: Any) -> Any:
    """Make every text in an answer `printable`."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): _shown(item) for key, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, list) else value
