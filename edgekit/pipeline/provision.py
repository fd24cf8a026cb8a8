"""``edgekit device facts`` and ``device setup``: what a board is, and a runtime for one without internet."""

from __future__ import annotations

from edgekit.device import Device, Facts
from edgekit.devices import connect
from edgekit.devices.provision import setup as set_up_runtime
from edgekit.devices.session import AgentSession
from edgekit.pipeline import Progress, silent

__all__ = ["device_facts", "set_up"]


def device_facts(device: Device) -> Facts:
    """Ask a board what it is: machine, system, Python, runtimes, room, sensors."""
    with connect(device) as connection, AgentSession(connection, device) as session:
        return session.facts()


def set_up(device: Device, progress: Progress = silent) -> Facts:
    """Give a board the runtime that fits its Python, machine and C library; returns its facts afterwards.

    The host fetches the wheels, so the board needs no internet and no pip.

    Raises
    ------
    DeviceError
        No runtime fits the board, or the one installed does not import there.
    """
    with connect(device) as connection, AgentSession(connection, device) as session:
        return set_up_runtime(session, session.facts(), progress)
