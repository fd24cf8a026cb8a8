"""A board out of several, as soon as one is free. Called by ``ci`` and the pytest plugin."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from edgekit.device import Device
from edgekit.devices.lease import Hold, hold
from edgekit.errors import BusyError, DeviceError, UsageError
from edgekit.inventory import find_device, find_devices
from edgekit.pipeline import Progress
from edgekit.project import Project
from edgekit.target import same_kind, target_names

__all__ = ["candidates", "kind_of", "take_one"]

_PAUSE_S = 2.0
"""Between two looks at boards that are taken: a look is a connection, which costs a board tenths of a second."""


def candidates(project: Project, word: str | None, target: str | None, *, root: str | None = None) -> tuple[Device, ...]:
    """Find the boards that will do: the one a word means, else the project's of a kind, else those that ``[ci]`` names, else its only one.

    Parameters
    ----------
    target
        A kind of board, or a family of kinds.

    Raises
    ------
    UsageError
        There is none.
    """
    if word is not None:
        return find_devices(project, [word], root=root)
    kind = target or project.ci.target
    if kind is not None and not (project.ci.devices and target is None):
        names = [name for name, section in project.devices.items() if section.target and same_kind(section.target, kind)]
        if not names:
            raise UsageError(f"no device of the project is a {kind}", fix=f'[devices.NAME] with address = "..." and target = "{kind}"')
        return find_devices(project, names, root=root)
    if project.ci.devices:
        return find_devices(project, project.ci.devices, root=root)
    return (find_device(project, None, root=root),)


def kind_of(project: Project, device: Device, target: str | None = None) -> str:
    """Return the target to build for a board: what the inventory says it is, else what was asked for, else what the project builds.

    Raises
    ------
    UsageError
        None of them names one.
    """
    asked = (device.target, target, project.ci.target, project.build.target)
    for name in (*asked, "local" if device.address.is_local else None):
        if name in target_names():
            return name
    raise UsageError(f"which target is {device.name}?", fix=f'target = "..." under [devices.{device.name}], or --target NAME')


def take_one(
    devices: Sequence[Device],
    stack: ExitStack,
    *,
    reason: str,
    for_s: float,
    wait_s: float,
    tell: Callable[[str], None],
    progress: Progress,
) -> tuple[Device, Hold]:
    """Take the first board that is free; wait for one while at least one is merely busy.

    Parameters
    ----------
    stack
        Holds the board until it ends.
    for_s
        How long the lease lasts if this process dies.
    tell
        Told who holds the boards, when that changes.
    progress
        Told how many seconds have been waited.

    Raises
    ------
    BusyError
        None became free in time; says who holds them.
    DeviceError
        None can be reached.
    """
    begun_s, told = time.monotonic(), ""
    while True:
        busy: list[BusyError] = []
        away: list[DeviceError] = []
        for device in devices:
            try:
                return device, stack.enter_context(hold(device, reason=reason, for_s=for_s))
            except BusyError as error:
                busy.append(error)
            except DeviceError as error:
                away.append(error)
        if not busy:
            raise away[0]
        waited_s = time.monotonic() - begun_s
        progress("wait for a board", round(waited_s), round(wait_s))
        text = "; ".join(dict.fromkeys(error.message for error in (*busy, *away)))
        if waited_s >= wait_s:
            after = f" (waited {wait_s:.0f} s)" if wait_s else ""
            raise BusyError(f"{text}{after}", fix=busy[0].fix)
        if (who := re.sub(r" \(.*?\)", "", text)) != told:  # without the time left
            told = who
            tell(f"waiting: {text}")
        time.sleep(min(_PAUSE_S, wait_s - waited_s))
