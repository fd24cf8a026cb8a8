"""Work on a board that outlives a lost link: the same thing again over a new connection, until it is done or the board stays away.

Used where work finds what was done before, or the board goes on while nobody listens: ``deploy``, and engines that a board builds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from edgekit.device import Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.errors import AuthError, DeviceError, HostKeyError, LinkError
from edgekit.pipeline import Progress

__all__ = ["WAITS_S", "persist"]

T = TypeVar("T")

WAITS_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 60.0)
"""Between attempts that brought nothing new: three minutes, a reboot's worth. A stage that gets further than ever starts them over, so
that a link which comes and goes ends in success, or in an error that long after the last step forward."""


def persist(
    device: Device,
    work: Callable[[AgentSession, Progress], T],
    *,
    progress: Progress,
    fix: str,
    lease: str | None = None,
    waits_s: tuple[float, ...] = WAITS_S,
) -> T:
    """Run work on a board, and run it again whenever the link is lost under it.

    Parameters
    ----------
    work
        Called with a session and the progress to report; finds what an earlier call has done.
    fix
        What the user can do when the board stays away.
    lease
        Token of the lease under which the work is done.

    Raises
    ------
    LinkError
        The link was lost and the board could not be reached again, or lost it each time before anything had got further.
    DeviceError
        It could not be reached in the first place, or what ``work`` raises.
    """
    furthest: dict[str, int] = {}
    advanced = False
    reached = False
    left = list(waits_s)

    def listening(stage: str, done: int, total: int) -> None:
        nonlocal advanced
        if done > furthest.get(stage, -1):
            furthest[stage], advanced = done, True
        progress(stage, done, total)

    while True:
        connected = False
        try:
            with connect(device) as connection, AgentSession(connection, device, lease=lease) as session:
                connected = reached = True
                return work(session, listening)
        except (AuthError, HostKeyError):
            raise
        except DeviceError as error:
            # Whatever keeps a board that was there from being reached again may pass: it boots, its network comes up.
            if not (isinstance(error, LinkError) or (reached and not connected)):
                raise
            if advanced:
                left, advanced = list(waits_s), False
            if not left:
                raise LinkError(error.message, fix=fix) from error
            progress(f"connect again ({error.message.splitlines()[0]})", len(waits_s) - len(left), len(waits_s))
            time.sleep(left.pop(0))
