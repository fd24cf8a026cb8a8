"""The service that answers for a model on its board, over HTTP there: installed by ``deploy --service``, seen to by ``device service``.

The board's side is `edgekit.ondevice.service`.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec

from edgekit.device import Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.devices.shell import command
from edgekit.errors import DeployError, DeviceError

__all__ = [
    "PORT",
    "Look",
    "Served",
    "Service",
    "Services",
    "drop_service",
    "install_service",
    "linger",
    "look_for_service",
    "remove_service",
    "services",
]

PORT = 8080
_TIMEOUT_S = 300.0
# StandardInputData= came with it (systemd, NEWS, version 236).
_SYSTEMD_MIN = 236

T = TypeVar("T")

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Look(msgspec.Struct, frozen=True):
    """What a board says of a service that might be installed.

    Attributes
    ----------
    systemd
        Version of the user's manager; None where it does not answer, and ``why``.
    linger
        The user's services run while nobody is logged in.
    port_taken
        By something else than this application's service.
    odd_path
        A path that no unit can hold.
    """

    systemd: int | None
    why: str | None
    linger: bool
    user: str
    port_taken: bool
    odd_path: str | None


class Service(msgspec.Struct, frozen=True):
    """One service; ``healthy`` when the current release is the one that answers."""

    app: str
    port: Port
    healthy: bool
    release: str | None = None
    since: str | None = None
    error: str | None = None


class Services(msgspec.Struct, frozen=True):
    """The services on a board."""

    services: tuple[Service, ...]
    linger: bool
    user: str


class Served(msgspec.Struct, frozen=True):
    """Where a board serves a model; ``linger`` holds what its user lacks for that to outlast the login, None when nothing."""

    port: Port
    linger: str | None = None

    @classmethod
    def of(cls, port: int | None, look: Look | None) -> Served | None:
        """Say where the service answers that proved a release, or None; ``look`` is known where one was asked for."""
        return None if port is None else cls(port, linger(look.user) if look and not look.linger else None)


class _Installed(msgspec.Struct, frozen=True):
    was_there: bool


class _Removed(msgspec.Struct, frozen=True):
    removed: bool


def look_for_service(session: AgentSession, app: str, port: int) -> Look:
    """Make sure that a board can run a service, before anything is sent there.

    Raises
    ------
    DeployError
        There is no systemd of the user's, it is too old, or something else has the port.
    """
    where = session.device.address
    look = _ask(session, "service.look", Look, app=app, port=port)
    if look.systemd is None:
        raise DeployError(
            f"{where}: no systemd of the user {look.user} answers there ({look.why}), which would run the service; nothing was sent",
            fix=f"on the board: {linger(look.user)}; or deploy without --service",
        )
    if look.systemd < _SYSTEMD_MIN:
        raise DeployError(
            f"{where}: its systemd is {look.systemd}; the service needs {_SYSTEMD_MIN}; nothing was sent", fix="deploy without --service"
        )
    if look.port_taken:
        raise DeployError(f"{where}: something else listens on port {port} there; nothing was sent", fix="name another: --port N")
    if look.odd_path:
        raise DeployError(
            f"{where}: a systemd unit cannot hold the path {look.odd_path}; nothing was sent",
            fix="name a plain folder, without spaces: root = ... or python = ... of the device",
        )
    return look


def install_service(session: AgentSession, app: str, port: int) -> bool:
    """Install the service, or let the one that is there go on; tell whether there was one before.

    Raises
    ------
    DeployError
        systemd refuses it.
    """
    return _ask(session, "service.install", _Installed, app=app, port=port).was_there


def services(device: Device) -> Services:
    """Ask a board for its services and how they are.

    Raises
    ------
    DeviceError
        The board cannot be reached.
    """
    with connect(device) as connection, AgentSession(connection, device) as session:
        return _ask(session, "service.show", Services)


def remove_service(device: Device, app: str) -> bool:
    """Stop an application's service and take its unit away; tell whether there was one.

    Raises
    ------
    DeployError
        systemd refuses.
    """
    with connect(device) as connection, AgentSession(connection, device) as session:
        return drop_service(session, app)


def drop_service(session: AgentSession, app: str) -> bool:
    """Do the same over an open session."""
    return _ask(session, "service.remove", _Removed, app=app).removed


def linger(user: str) -> str:
    """Return what lets a user's services run from boot on, whoever is logged in (loginctl(1))."""
    return command(["sudo", "loginctl", "enable-linger", user])


def _ask(session: AgentSession, job: str, kind: type[T], **fields: Any) -> T:
    try:
        return msgspec.convert(session.job(job, timeout_s=_TIMEOUT_S, **fields), kind)
    except msgspec.ValidationError as error:
        raise DeviceError(f"{session.device.address}: the answer to {job} is malformed: {error}") from error
