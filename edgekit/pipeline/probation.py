"""A release on probation: what ran before it is noted, and put back in the end. Called by ``ci`` and the pytest plugin.

The note is kept in a file of the user's until then, so that the next probation on the board makes good what a process that was
killed has left.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
import platformdirs

from edgekit.bundle import Bundle
from edgekit.device import Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.digest import atomic_file, sha256_bytes
from edgekit.errors import BusyError, DeployError, InputError
from edgekit.parse import Sha256, from_json
from edgekit.pipeline.activate import settle
from edgekit.pipeline.releases import App, ask_status, restore

__all__ = ["KEEP_ALL", "Before", "begin", "forget", "put_back"]

KEEP_ALL = 1000
"""To deploy with: it prunes none of the releases that are the board's own."""


class Before(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an application stood on a board before.

    Attributes
    ----------
    current, previous
        Its releases; None where there was none.
    tried
        The release on probation.
    comes
        Releases that came to the board for it.
    """

    app: str
    current: Sha256 | None
    previous: Sha256 | None
    tried: Sha256
    comes: tuple[Sha256, ...] = ()


def begin(device: Device, bundle: Bundle) -> Before:
    """Note how the application stands on the board, once what was broken off there has been put in order.

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
    before = Before(name, None, None, bundle.digest, (bundle.digest,))
    if app is not None:
        before = _before(device, app, bundle)
    with atomic_file(_path(device, name), mode=0o600) as file:
        file.write(msgspec.json.encode(before))
    return before


def _before(device: Device, app: App, bundle: Bundle) -> Before:
    if app.state in ("activated", "going-back"):
        raise BusyError(f"{device.address}: another deployment of {app.name} is being decided there", fix="wait until it is")
    left = _left(device, app)
    if left is None and app.current and not app.whole:
        text = f"{device.address}: the release {app.current[:12]} of {app.name} that runs there is damaged, and could not be put back"
        raise DeployError(text, fix=f"mend it: edgekit deploy {device.name}; or --no-restore")
    current, previous, came = (left.current, left.previous, left.comes) if left else (app.current, app.previous, ())
    comes = came if bundle.digest in (*app.releases, *came) else (*came, bundle.digest)
    return Before(app.name, current, previous, bundle.digest, comes)


def _left(device: Device, app: App) -> Before | None:
    """Return what a probation that was killed has noted; None where none of its releases is current any more.

    A second one may have been killed before its own release was current: then the first one's still is.
    """
    path = _path(device, app.name)
    try:
        left = from_json(path.read_bytes(), Before, str(path))
    except (FileNotFoundError, InputError):
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", fix="it must be this user's own file") from error
    return left if app.current in (left.tried, *left.comes) and left.app == app.name else None


def put_back(device: Device, before: Before) -> None:
    """End it: both links are what they were, what ran runs again, and what came for it goes.

    Raises
    ------
    InconsistentError
        The board cannot go back, or its application could not be restarted.
    DeviceError
        It cannot be reached.
    """
    for tried in before.comes or (None,):
        restore(device, before.app, current=before.current, previous=before.previous, tried=tried)
    forget(device, before.app)


def forget(device: Device, app: str) -> None:
    """Drop the note: what is current now is there to stay."""
    with contextlib.suppress(OSError):  # it counts for little: only where the release that was tried is current
        _path(device, app).unlink()


def _path(device: Device, app: str) -> Path:
    name = sha256_bytes(f"{device.address}\0{device.root}\0{app}".encode())[:32]
    return platformdirs.user_state_path("edgekit") / "probation" / f"{name}.json"
