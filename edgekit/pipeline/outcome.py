"""``Outcome``: how one board of a roll-out came out. Plain values, for it travels between processes and into the ledger."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable

import msgspec

from edgekit.errors import EdgekitError
from edgekit.pipeline.deploy import Deployed

__all__ = ["Outcome", "attempt"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one board came out.

    Attributes
    ----------
    code
        0, or the exit code that a deployment to this board alone would have had.
    error
        The error's class, one of `edgekit.errors`; None when it is done, or a mistake of ours.
    already
        It ran the release before anything was sent.
    """

    code: int = 0
    error: str | None = None
    message: str | None = None
    fix: str | None = None
    already: bool = False
    previous: str | None = None
    bytes_sent: int = 0
    stand_in: bool = False
    seconds: float = 0.0


def attempt(operation: Callable[[], Deployed | None]) -> Outcome:
    """Run one board's operation; whatever goes wrong is this board's outcome, not the end of the roll-out.

    Parameters
    ----------
    operation
        Returns what was deployed; None when the board was asked and has the release.
    """
    begun_s = time.monotonic()

    def seconds() -> float:
        return round(time.monotonic() - begun_s, 3)

    try:
        done = operation()
    except EdgekitError as error:
        return Outcome(code=error.exit_code, error=type(error).__name__, message=error.message, fix=error.fix, seconds=seconds())
    except Exception as error:  # noqa: BLE001  # a mistake of ours must not leave other boards half way
        traceback.print_exc()
        return Outcome(code=EdgekitError.exit_code, message=f"{type(error).__name__}: {error}", seconds=seconds())
    if done is None:
        return Outcome(already=True, seconds=seconds())
    return Outcome(previous=done.previous, bytes_sent=done.bytes_sent, stand_in=done.stand_in, seconds=seconds())
