"""``edgekit status`` and ``rollback``: which release each application on a board runs."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from edgekit.device import Device
from edgekit.devices import connect
from edgekit.devices.lease import leased
from edgekit.devices.session import AgentSession
from edgekit.errors import DeviceError, InconsistentError
from edgekit.pipeline.activate import HOOK_MAX_S

__all__ = ["App", "RolledBack", "Status", "ask_status", "restore", "rollback", "status"]

_TIMEOUT_S = 300.0


class App(msgspec.Struct, frozen=True):
    """One application on a board.

    Attributes
    ----------
    whole
        Every file of the current release is there, with its digest.
    bytes
        Size of the current release.
    state, since, why, by
        How the last deployment stands (docs/deployment.md lists the states), since when, and for what reason by whom.
    next
        What becomes of a state that is not to stay, in words.
    signer, key, serial, untrusted
        Who signed the current release, with which key, and its number; and why the board would not take it again.
    """

    name: str
    current: str | None
    previous: str | None
    whole: bool
    releases: tuple[str, ...]
    bytes: int
    target: str | None
    state: str
    since: str | None
    why: str | None
    by: str | None
    next: str | None
    signer: str | None
    key: str | None
    serial: int | None
    untrusted: str | None


class Status(msgspec.Struct, frozen=True):
    """What a board's store holds."""

    apps: tuple[App, ...]
    free_bytes: int


def ask_status(session: AgentSession, app: str | None) -> Status:
    """Ask an open session what the store holds: one application, or all."""
    data = session.job("store.status", timeout_s=_TIMEOUT_S, app=app)
    try:
        return msgspec.convert(data, Status)
    except msgspec.ValidationError as error:
        raise DeviceError(f"{session.device.address}: the answer to store.status is malformed: {error}") from error


def status(device: Device) -> Status:
    """Ask a board which applications it holds, which release is current, and whether it is whole."""
    with connect(device) as connection, AgentSession(connection, device) as session:
        return ask_status(session, None)


class RolledBack(msgspec.Struct, frozen=True):
    """Digests of the release that is current again (None: nothing is, as before the first one), and of the one to go back to from it."""

    release: str | None
    previous: str | None


def rollback(device: Device, app: str) -> RolledBack:
    """Make the previous release current again, once it has been found whole, and restart the application by its hook.

    An unproven deployment is taken back at once, wherever it comes from.

    Raises
    ------
    DeployError
        There is no previous release, or it is damaged; nothing changed.
    InconsistentError
        It is current again, and its application could not be restarted; or the board's disk does not let it go back.
    BusyError
        Somebody else holds the board.
    """
    with connect(device) as connection, AgentSession(connection, device) as session:
        with leased(session, reason=f"roll back {app}", needed=False):  # one that a lost deployment has left is taken up again
            data = session.job("store.rollback", timeout_s=_TIMEOUT_S + HOOK_MAX_S, app=app)
        try:
            return msgspec.convert(data, RolledBack)
        except msgspec.ValidationError as error:
            raise DeviceError(f"{device.address}: the answer to store.rollback is malformed: {error}") from error


def restore(device: Device, app: str, *, current: str | None, previous: str | None, tried: str | None) -> None:
    """Set an application's links back to what they were before a trial, and restart what runs again by its hook.

    Parameters
    ----------
    current, previous
        Releases; None for a link that there was not.
    tried
        The release that came for the trial, which goes; None keeps all.

    Raises
    ------
    InconsistentError
        The board cannot go back, or has gone back and its application could not be restarted.
    DeviceError
        It cannot be reached.
    """
    fields: dict[str, Any] = {"app": app, "current": current, "previous": previous, "tried": tried, "deployment": secrets.token_hex(8)}
    with connect(device) as connection, AgentSession(connection, device) as session:
        with leased(session, reason=f"restore {app}", needed=False):
            data = session.job("store.restore", timeout_s=_TIMEOUT_S + HOOK_MAX_S, **fields)
    try:
        now = msgspec.convert(data, RolledBack)
    except msgspec.ValidationError as error:
        raise DeviceError(f"{device.address}: the answer to store.restore is malformed: {error}") from error
    if now.release != current:
        text = f"{device.address}: {app} runs {(now.release or 'nothing')[:12]}, not {(current or 'nothing')[:12]} as before"
        raise InconsistentError(text, fix=f"edgekit status {device.name}")
