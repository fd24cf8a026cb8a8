"""``edgekit device lease`` and ``device release``: a board for oneself for a while, and back again."""

from __future__ import annotations

from edgekit.device import Device
from edgekit.devices import connect
from edgekit.devices import lease as leases
from edgekit.devices.lease import Held
from edgekit.devices.session import AgentSession

__all__ = ["Held", "holder", "lease", "release"]


def lease(device: Device, *, for_s: float, reason: str) -> Held:
    """Take a board for a time, or begin that time anew; commands of this user on this machine use the lease by themselves.

    Raises
    ------
    BusyError
        Somebody else holds it; says who, why, and for how long.
    """
    with connect(device) as connection, AgentSession(connection, device) as session:
        return leases.take(session, reason=reason, for_s=for_s)


def release(device: Device, *, force: bool = False) -> Held:
    """Give a board back before the time is up.

    Parameters
    ----------
    force
        Also when somebody else holds it: for a holder who is gone. The board records whose lease it was and who ended it.

    Raises
    ------
    BusyError
        Somebody else holds it.
    """
    with connect(device) as connection, AgentSession(connection, device) as session:
        return leases.release(session, force=force)


def holder(device: Device) -> Held:
    """Ask who holds a board; needs no lease."""
    with connect(device) as connection, AgentSession(connection, device) as session:
        return leases.show(session)
