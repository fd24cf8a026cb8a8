"""One deployment that is struck, and the judgement of what it left: the same for a board on loopback and for a whole machine.

A deployment runs in a process of its own, forked from this one, so that it is a real host that may be killed and still starts at once. It
tells where it has come to: before and after each job and script on the board, and at each progress event.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

from edgekit.device import Device
from edgekit.devices import Connection, connect
from edgekit.devices.session import AgentSession
from edgekit.errors import BusyError, EdgekitError
from edgekit.pipeline import releases
from tests.survival import look
from tests.survival.material import Sample, put

__all__ = ["Board", "Strike", "Tally", "Told", "boundaries", "inside_child", "judge", "run_case", "struck"]

_FORK = multiprocessing.get_context("fork")
_CASE_TIMEOUT_S = 900.0
_UNDECIDED = ("activated", "going-back")
_DECIDING_S = 60.0


@dataclass(frozen=True)
class Strike:
    """When something is killed: at the boundary of that number, or of that name, or so many seconds after the start."""

    boundary: int | None = None
    at: str | None = None
    after_s: float | None = None


@dataclass(frozen=True)
class Told:
    """How a deployment ended as its host saw it: ``code`` 0, an exit code of edgekit's, or None for a host that was killed."""

    code: int | None
    text: str
    boundaries: tuple[str, ...]
    seconds: float


class Board(Protocol):
    """What is deployed to. ``deadline_s`` is how long a release has to prove itself there."""

    device: Device
    deadline_s: float

    def strike(self, host_pid: int) -> None:
        """Kill what this board's tests kill."""

    def recover(self) -> None:
        """Bring the board back after a strike, where that takes something."""


def struck(sample: Sample, board: Board, strike: Strike | None) -> Told:
    """Deploy in a process of its own; strike the board when it comes to the moment."""
    near, far = _FORK.Pipe()
    process = _FORK.Process(target=_deploy, args=(sample, board, far, strike or Strike()))
    started_s = time.monotonic()
    process.start()
    far.close()
    seen: list[str] = []
    code, text = None, "the host was killed"
    due_s = started_s + strike.after_s if strike and strike.after_s is not None else None
    try:
        while True:
            wait_s = started_s + _CASE_TIMEOUT_S - time.monotonic() if due_s is None else due_s - time.monotonic()
            if not near.poll(max(0.0, wait_s)):
                if due_s is None:
                    raise RuntimeError(f"a deployment does not end; it came to {seen[-3:]}")
                board.strike(process.pid or 0)
                due_s = None
                continue
            kind, value = near.recv()
            if kind == "end":
                code, text = value
                break
            seen.append(value)
            if kind == "strike":
                board.strike(process.pid or 0)
                near.send(None)
    except (EOFError, ConnectionError):
        pass  # the host is dead
    finally:
        if process.is_alive() and code is None:
            os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        near.close()
    return Told(code, text, tuple(seen), time.monotonic() - started_s)


def _deploy(sample: Sample, board: Board, pipe: Pipe, strike: Strike) -> None:
    """Be the host: deploy, tell each boundary, and at the struck one wait for the blow."""
    places: list[str] = []

    def reach(where: str) -> None:
        struck_here = len(places) == strike.boundary or (where == strike.at and where not in places)
        places.append(where)
        pipe.send(("strike" if struck_here else "at", where))
        if struck_here:
            pipe.recv()

    job = AgentSession.job

    def telling(session: AgentSession, name: str, **fields: Any) -> dict[str, Any]:
        reach(f"before {name}")
        data = job(session, name, **fields)
        reach(f"after {name}")
        return data

    try:
        with mock.patch.object(AgentSession, "job", telling):
            put(sample, board.device, deadline_s=board.deadline_s, progress=lambda stage, done, total: reach(f"{stage} {done}/{total}"))
        pipe.send(("end", (0, "deployed")))
    except EdgekitError as error:
        pipe.send(("end", (error.exit_code, error.message)))


def boundaries(sample: Sample, board: Board) -> Told:
    """Deploy undisturbed, to learn how many boundaries there are and how long it takes."""
    told = struck(sample, board, None)
    if told.code != 0 and sample.good:
        raise RuntimeError(f"an undisturbed deployment ended in {told.code}: {told.text}")
    return told


@dataclass
class Tally:
    """Cases by kind, how the deployments ended, and every violation."""

    cases: dict[str, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def add(self, kind: str, told: Told, wrong: list[str], where: str) -> None:
        """Count a case."""
        self.cases[kind] = self.cases.get(kind, 0) + 1
        end = "host killed" if told.code is None else f"exit {told.code}"
        self.ends[end] = self.ends.get(end, 0) + 1
        self.violations += [f"{kind}, {where}: {text}" for text in wrong]


@dataclass(frozen=True)
class _Seen:
    """What stands on the board, by its files and by its own account."""

    current: str | None
    wrong: str | None
    state: str
    status_current: str | None
    whole: bool


def _see(board: Board, app: str, *, settle: bool = False) -> _Seen:
    source = Path(look.__file__).read_text()

    def looked(connection: Connection) -> dict[str, Any]:
        done = connection.run([board.device.python or "python3", "-c", source, board.device.root], timeout_s=120)
        if done.rc:
            raise RuntimeError(done.stderr.decode(errors="replace"))
        found: dict[str, Any] = json.loads(done.stdout).get(app, {"current": None, "wrong": None})
        return found

    with connect(board.device) as connection, AgentSession(connection, board.device) as session:
        if settle:
            session.job("deploy.settle", timeout_s=600, app=app)
        found = looked(connection)
        while True:
            told = next(iter(releases.ask_status(session, app).apps), None)
            again = looked(connection)
            if again == found:
                break  # else the watchdog went back between the two looks, and they are not of one moment
            found = again
    state, current, whole = (told.state, told.current, told.whole) if told else ("none", None, False)
    return _Seen(found["current"], found["wrong"], state, current, whole)


def inside_child(work: Callable[[], Any]) -> Any:
    """Do something in a process of its own: threads of SSH sessions must not be here when the next host is forked."""
    near, far = _FORK.Pipe()

    def run() -> None:
        try:
            far.send((True, work()))
        except Exception as error:  # noqa: BLE001  # told where it counts
            far.send((False, f"{type(error).__name__}: {error}"))

    process = _FORK.Process(target=run)
    process.start()
    far.close()
    good, value = near.recv() if near.poll(_CASE_TIMEOUT_S) else (False, "no answer")
    if process.is_alive() and value == "no answer":
        process.kill()
    process.join()
    if not good:
        raise RuntimeError(value)
    return value


def judge(before: str | None, sample: Sample, told: Told, seen: _Seen, settled: bool) -> list[str]:
    """Return what is wrong with what stands on the board; ``settled`` when nobody has to decide anything there any more."""
    wrong = []
    allowed = {before, sample.digest}
    if told.code == 0:
        allowed = {sample.digest}
    if settled and not sample.good:
        allowed = {before}
    if seen.current not in allowed:
        wrong.append(f"current is {str(seen.current)[:12]}, not one of {sorted(str(one)[:12] for one in allowed)}")
    if seen.wrong:
        wrong.append(f"current is torn: {seen.wrong}")
    if seen.current and (seen.status_current, seen.whole) != (seen.current, seen.wrong is None):
        wrong.append(f"status says {str(seen.status_current)[:12]} is current, whole: {seen.whole}")
    if not sample.good and seen.current == sample.digest != before and seen.state in ("proven", "committed"):
        wrong.append(f"status says {seen.state} of a release that cannot be proven")
    if settled and seen.state not in ("none", "committed", "rolled-back"):
        wrong.append(f"settled, it is {seen.state}")
    if settled and seen.current == sample.digest != before and seen.state != "committed":
        wrong.append(f"the new release stays and is {seen.state}")
    return wrong


def run_case(sample: Sample, following: Sample | None, board: Board, strike: Strike) -> tuple[Told, list[str]]:
    """Strike one deployment; return how it ended and what was wrong then, and with what the next commands made of it.

    Parameters
    ----------
    following
        What the next command deploys; None where that is ``deploy.settle`` alone, with which every deployment begins.
    """
    before = inside_child(lambda: _see(board, sample.app)).current
    told = struck(sample, board, strike)
    wrong: list[str] = []
    try:
        board.recover()
        seen = inside_child(lambda: _see(board, sample.app))
        wrong += judge(before, sample, told, seen, settled=False)
        after = struck(following, board, None) if following else None
        end_s = time.monotonic() + board.deadline_s + _DECIDING_S
        busy = after is not None and after.code == BusyError.exit_code
        while (busy or after is None) and time.monotonic() < end_s:  # an unproven release has the time it was given
            seen = inside_child(lambda: _see(board, sample.app, settle=True))
            wrong += judge(before, sample, told, seen, settled=seen.state not in _UNDECIDED)
            if seen.state not in _UNDECIDED:
                after = struck(following, board, None) if following else Told(0, "settled", (), 0.0)
                busy = False
            else:
                time.sleep(0.5)
        if after is None or after.code != 0:
            wrong.append(f"the next command ended in {after}")
        if following:
            seen = inside_child(lambda: _see(board, sample.app))
            wrong += judge(seen.current, following, Told(0, "", (), 0.0), seen, settled=True)
    except RuntimeError as error:
        wrong.append(f"the next command failed: {error}")
    return told, wrong
