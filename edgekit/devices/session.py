"""The agent on a device: put there once, then one process per job, JSON lines both ways.

Called by the pipeline and by `edgekit.devices.provision`. The lines' format is `edgekit.ondevice.wire`; nothing a
device says is believed before it has been checked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from edgekit.device import Device, Facts
from edgekit.devices import Connection, Progress
from edgekit.devices.pack import agent_archive
from edgekit.devices.python import DevicePython, find_python, install_agent
from edgekit.errors import DeployError, DeviceError, EdgekitError, InputError
from edgekit.ondevice.wire import AgentError, decode_event, encode_job

__all__ = ["AgentSession", "silent"]

_FACTS_TIMEOUT_S = 60.0
_RECEIVE_TIMEOUT_S = 600.0
_TAIL_LINES = 12

_KINDS: dict[str, type[EdgekitError]] = {
    "input": InputError,
    "usage": DeviceError,
    "runtime-missing": DeviceError,
    "runtime-failed": DeviceError,
    "no-space": DeployError,
    "mismatch": DeployError,
    "state": DeployError,
    "stopped": DeviceError,
    "bug": DeviceError,
}


def silent(stage: str, done: int, total: int) -> None:
    """Ignore progress."""


class AgentSession:
    """Jobs on one device over one open connection. As a context manager it starts itself.

    Parameters
    ----------
    connection
        Stays the caller's to close.
    """

    def __init__(self, connection: Connection, device: Device) -> None:
        self.connection = connection
        self.device = device
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
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / name
                path.write_bytes(data)
                self.connection.put(path, f"{agent}.part")
            install_agent(self.connection, self.device, python, f"{agent}.part", agent, data)
        self._python, self._agent = python, agent

    def __enter__(self) -> AgentSession:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing is held open: each job was a process of its own."""

    def job(self, name: str, *, timeout_s: float, progress: Progress = silent, **fields: Any) -> dict[str, Any]:
        """Run a job and return its result.

        Parameters
        ----------
        fields
            What the job takes, as JSON values.

        Raises
        ------
        InputError
            The device found a model, a sample set or a manifest to be wrong.
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
            elif event["event"] == "result":
                results.append(event["data"])
            else:
                failures.append(self._failure(name, event))

        words = [self._python.path, self._agent]
        line = encode_job(name, self.device.root, fields)
        done = self.connection.run(words, stdin=line, timeout_s=timeout_s, on_line=take)
        if failures:
            raise failures[0]
        if not results or done.rc != 0:
            raise self._crash(name, done.rc, done.stderr)
        return results[0]

    def facts(self) -> Facts:
        """Ask the device what it is.

        Raises
        ------
        DeviceError
            It does not say, or not in the form expected.
        """
        data = self.job("facts", timeout_s=_FACTS_TIMEOUT_S)
        try:
            return msgspec.convert(data, Facts)
        except msgspec.ValidationError as error:
            raise DeviceError(f"{self._where}: the device's facts are not as they must be: {error}") from error

    def push_blob(self, path: Path, sha256: str, progress: Progress = silent, *, have_bytes: int | None = None) -> None:
        """Send a file into the device's store, going on where an earlier attempt stopped.

        Parameters
        ----------
        sha256
            The file's digest; the device compares it with what arrived.
        have_bytes
            How much the device has, from ``store.missing``; None asks.

        Raises
        ------
        DeployError
            No room, or the bytes on the device are not those of the file.
        """
        size = path.stat().st_size
        if have_bytes is None:
            answer = self.job("store.missing", timeout_s=_FACTS_TIMEOUT_S, blobs={sha256: size})
            have_bytes = self._have_bytes(answer, sha256)
            if have_bytes is None:
                return
        stage = f"send {path.name}"
        remote = f"{self.device.root}/incoming/{sha256}.part"
        # What an earlier attempt left may be spoilt, by a power cut say: then once more from the start.
        for offset in (have_bytes, 0) if 0 < have_bytes <= size else (0,):
            self.connection.put(path, remote, offset=offset, progress=lambda done, total: progress(stage, done, total))
            try:
                self.job("store.receive", timeout_s=_RECEIVE_TIMEOUT_S, progress=progress, sha256=sha256, bytes=size)
            except DeployError:
                if offset == 0:
                    raise
            else:
                return

    def _have_bytes(self, answer: dict[str, Any], sha256: str) -> int | None:
        """Read from the answer of ``store.missing`` how much of a blob the device has; None when it has all."""
        missing = answer.get("missing")
        if missing == []:
            return None
        try:
            found = msgspec.convert(missing, list[dict[str, Any]])[0]
            if found["sha256"] != sha256:
                raise KeyError(sha256)
            return msgspec.convert(found["have_bytes"], int)
        except (msgspec.ValidationError, LookupError) as error:
            raise DeviceError(f"{self._where}: the device's answer to store.missing is not as it must be: {error}") from error

    def _decode(self, line: bytes, name: str, *, after_end: bool) -> dict[str, Any]:
        try:
            if after_end:
                raise AgentError("usage", "nothing may follow the result")
            return decode_event(line)
        except AgentError as error:
            raise DeviceError(
                f"{self._where}: job {name}: the device answered {line[:200]!r}: {error.message}",
                fix="if a start-up file of the login shell prints something, make it silent for sessions that are not interactive",
            ) from error

    def _failure(self, name: str, event: dict[str, Any]) -> EdgekitError:
        fix = event["fix"]
        if event["kind"] == "runtime-missing":
            fix = f"edgekit device setup {self.device.name}"
        kind = "a bug in the agent: " if event["kind"] == "bug" else ""
        return _KINDS[event["kind"]](f"{self._where}: {kind}{event['message']}", fix=fix)

    def _crash(self, name: str, rc: int, stderr: bytes) -> DeviceError:
        # A shell reports a signal n as 128 + n (POSIX, shell command language, 2.8.2).
        died = f"was killed by signal {rc - 128 if rc > 128 else -rc}" if rc > 128 or rc < -1 else f"ended with status {rc}"
        if rc == -1:
            died = "was killed by a signal"
        return DeviceError(f"{self._where}: job {name}: the agent {died} without an answer{_tail(stderr)}")


def _tail(stderr: bytes) -> str:
    lines: Sequence[str] = stderr.decode("utf-8", errors="replace").strip().splitlines()[-_TAIL_LINES:]
    return "".join(f"\n    {line}" for line in lines)
