"""One step of a run after the other: each with a time limit, bounded retries, and a record of how it came out. Called by ``ci``.

Limits and the shield work by signals, so all this is for the main thread (signal(2) handlers run nowhere else in Python).
"""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

from edgekit.errors import AuthError, BusyError, DeadlineError, DeviceError, EdgekitError, HostKeyError, UsageError
from edgekit.measurement import Measurement, Verdict
from edgekit.runs.run import Retry, Step

__all__ = ["Ended", "Found", "Steps", "shielded", "within"]

T = TypeVar("T")

_INTERRUPTED, _TERMINATED, _BUG = 130, 143, 70
_PAUSES_S = (1.0, 3.0, 10.0)
"""Before a step is done again; the last one repeats."""


class Ended(Exception):  # noqa: N818  # no error: what happened is written down
    """A step did not end well, and the run goes no further."""


class _Overdue(BaseException):
    """The time of a step is up. No ``Exception``: nothing on the way up may take it for one of its own."""


@dataclass
class Found:
    """What a step adds to its record beside its result; the fields are those of `Step`."""

    code: int = 0
    verdicts: tuple[Verdict, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    simulated: bool = False
    report: str | None = None


@contextmanager
def within(timeout_s: float, what: str) -> Iterator[None]:
    """End a block that takes longer.

    Raises
    ------
    DeadlineError
        It did.
    UsageError
        This is not the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise UsageError("time limits need the main thread", fix="call it from there, or in a process of its own")

    def ring(signum: int, frame: FrameType | None) -> None:
        raise _Overdue

    before = signal.signal(signal.SIGALRM, ring)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, max(timeout_s, 0.001))
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _Overdue as late:
        more = f"; {late}" if late.args else ""
        raise DeadlineError(
            f"{what} did not end within {timeout_s:.0f} s{more}", fix="allow it more time under [ci], or look why"
        ) from None
    finally:
        signal.signal(signal.SIGALRM, before)


@contextmanager
def shielded() -> Iterator[list[int]]:
    """Let no Ctrl-C and no SIGTERM break a block; yields those that came, to be heeded after it.

    GitHub's runner sends SIGINT, 7.5 s later SIGTERM, and kills 2.5 s after that (its documentation, "Canceling a workflow").
    """
    came: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        came.append(signum)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Steps:
    """The record of a run as it grows.

    Parameters
    ----------
    end_s
        When the run's whole time is up, by `time.monotonic`.
    retries
        How often a step is done again that failed for the sake of the board or the link.
    tell
        Told, for a log that somebody reads later, what begins, and what is done again.
    """

    def __init__(self, end_s: float, retries: int, tell: Callable[[str], None]) -> None:
        self.done: list[Step] = []
        self.end_s, self._retries, self._tell = end_s, retries, tell

    def run(
        self, name: str, work: Callable[[Found], T], *, timeout_s: float, again: bool = True, probe: bool = False, fatal: int | None = None
    ) -> T:
        """Do one step.

        Parameters
        ----------
        work
            Is given a `Found` for its record.
        again
            Whether it may be done again.
        fatal
            The exit code of its failure, whatever failed; None takes the error's.

        Raises
        ------
        Ended
            It failed.
        KeyboardInterrupt
            As it came: every step that was begun is written down. So are others that are no ``Exception``.
        """
        self._tell(name)
        retries: list[Retry] = []
        begun_s = time.monotonic()
        while True:
            found, tried_s = Found(), time.monotonic()

            def note(**how: Any) -> None:
                fields = {**vars(found), **how}  # noqa: B023  # called in this very turn of the loop
                seconds = round(time.monotonic() - begun_s, 3)
                self.done.append(Step(name=name, probe=probe, seconds=seconds, retries=tuple(retries), **fields))

            try:
                if retries:
                    time.sleep(max(0.0, min(_PAUSES_S[min(len(retries), len(_PAUSES_S)) - 1], self.end_s - time.monotonic())))
                with within(min(timeout_s, self.end_s - time.monotonic()), name):
                    result = work(found)
            except EdgekitError as error:
                passing = isinstance(error, DeviceError) and not isinstance(error, (AuthError, HostKeyError))
                passing |= fatal is not None and isinstance(error, BusyError)  # what was broken off may still be ending there
                if again and passing and len(retries) < self._retries and time.monotonic() < self.end_s:
                    retries.append(Retry(type(error).__name__, error.message, round(time.monotonic() - tried_s, 3)))
                    self._tell(f"{name}, again: {error.message}")
                    continue
                note(code=fatal or error.exit_code, error=type(error).__name__, message=error.message, fix=error.fix)
                raise Ended(name) from error
            except Exception as error:
                traceback.print_exc()
                note(**{**_stop(error), **({"code": fatal} if fatal else {})})
                raise Ended(name) from error
            except BaseException as error:
                note(**_stop(error))
                raise
            note()
            return result

    def stopped(self, error: BaseException) -> None:
        """Write down what ended the run between two steps; what ended one is written down with it."""
        how = _stop(error)
        if not self.done or self.done[-1].code != how["code"]:
            self.done.append(Step(name="run", **how))

    def skip(self, name: str, why: str, *, probe: bool = False) -> None:
        """Write down a step that was not run."""
        self.done.append(Step(name=name, probe=probe, code=None, message=why))


def _stop(error: BaseException) -> dict[str, Any]:
    """Return what is to be written down of a Ctrl-C, a SIGTERM or a mistake of ours."""
    if isinstance(error, Exception):
        return {"code": _BUG, "error": type(error).__name__, "message": f"a bug in edgekit: {error}"}
    code = _INTERRUPTED if isinstance(error, KeyboardInterrupt) else _TERMINATED
    return {"code": code, "error": "Interrupted", "message": str(error) or "the run was told to stop"}
