"""A release on probation: what ran before it is noted, and put back in the end. Called by ``ci`` and the pytest plugin."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.bundle import Bundle
from edgekit.device import Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.errors import BusyError, DeployError
from edgekit.pipeline.activate import settle
from edgekit.pipeline.releases import ask_status, restore

__all__ = ["KEEP_ALL", "Before", "look", "put_back"]

KEEP_ALL = 1000
"""To deploy with: it prunes none of the releases that are the board's own."""


@dataclass(frozen=True)
class Before:
    """How an application stood on a board before.

    Attributes
    ----------
    current, previous
        Its releases; None where there was none.
    comes
        The release that comes to the board for it; None where it was there.
    """

    app: str
    current: str | None
    previous: str | None
    comes: str | None


def look(device: Device, bundle: Bundle) -> Before:
    """Return how the application stands on the board, once what was broken off there has been put in order.

    Raises
    ------
    BusyError
        Another deployment is being decided there.
    DeployError
        What runs there is damaged, so that it could not be put back.
    """
    name = bundle.manifest.name
    with connect(device) as connection, AgentSession(connection, device) as session:
        settle(session, name)
        app = next((app for app in ask_status(session, name).apps), None)
    if app is None:
        return Before(name, None, None, bundle.digest)
    if app.state in ("activated", "going-back"):
        raise BusyError(f"{device.address}: another deployment of {name} is being decided there", fix="wait until it is")
    if app.current and not app.whole:
        text = f"{device.address}: the release {app.current[:12]} of {name} that runs there is damaged, and could not be put back"
        raise DeployError(text, fix=f"mend it: edgekit deploy {device.name}; or --no-restore")
    return Before(name, app.current, app.previous, None if bundle.digest in app.releases else bundle.digest)


def put_back(device: Device, before: Before) -> None:
    """End it: both links are what they were, what ran runs again, and what came for it goes.

    Raises
    ------
    InconsistentError
        The board cannot go back, or its application could not be restarted.
    DeviceError
        It cannot be reached.
    """
    restore(device, before.app, current=before.current, previous=before.previous, tried=before.comes)
