"""``edgekit device facts`` and ``device setup``: what a board is, and a runtime for one without internet."""

from __future__ import annotations

from edgekit.device import Device, Facts
from edgekit.devices import connect
from edgekit.devices.lease import leased
from edgekit.devices.provision import setup as set_up_runtime
from edgekit.devices.session import AgentSession
from edgekit.errors import DeviceError
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.engine import TENSORRT, lacks
from edgekit.target import Target, load_target

__all__ = ["device_facts", "set_up"]


def device_facts(device: Device) -> Facts:
    """Ask a board what it is: machine, system, Python, runtimes, room, sensors."""
    with connect(device) as connection, AgentSession(connection, device) as session:
        return session.facts()


def set_up(device: Device, target: Target | None = None, progress: Progress = silent) -> Facts:
    """Give a board the runtime that fits its Python, machine and C library; returns its facts afterwards.

    The host fetches the wheels, so the board needs no internet and no pip.

    Parameters
    ----------
    target
        The kind of board, whose runtime it gets; by default the kind that the device is said to be, else TFLite's.

    Raises
    ------
    DeviceError
        No runtime fits the board, or the one installed does not import there; TensorRT and what it needs are not there.
    """
    target = target or (load_target(device.target) if device.target else None)
    kind = target.runtime if target else "tflite"
    with connect(device) as connection, AgentSession(connection, device) as session:
        if kind == TENSORRT:
            facts = session.facts()
            if missing := lacks(facts):
                text, fix = missing[0]
                raise DeviceError(f"{device.address}: {text}; TensorRT comes with JetPack, not as wheels from this host", fix=fix)
            return facts
        facts = session.facts()
        with leased(session, reason=f"set up {kind}"):
            return set_up_runtime(session, facts, kind, progress)
