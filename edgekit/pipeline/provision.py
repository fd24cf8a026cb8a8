"""``edgekit device facts`` and ``device setup``: what a board is, and a runtime for one without internet."""

from __future__ import annotations

from edgekit.device import Device, Facts
from edgekit.devices import connect
from edgekit.devices.lease import leased
from edgekit.devices.provision import Provision, plan
from edgekit.devices.provision import setup as set_up_runtime
from edgekit.devices.session import AgentSession
from edgekit.errors import DeviceError
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.engine import TENSORRT, lacks
from edgekit.target import Target, load_target

__all__ = ["device_facts", "plan_set_up", "set_up"]


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
    with connect(device) as connection, AgentSession(connection, device) as session:
        facts = session.facts()
        kind = _kind(device, target, facts)
        if kind is None:
            return facts
        with leased(session, reason=f"set up {kind}"):
            return set_up_runtime(session, facts, kind, progress)


def plan_set_up(device: Device, target: Target | None = None, progress: Progress = silent) -> Provision | None:
    """Say what `set_up` would send; None for a board whose runtime comes with its system, and is there.

    Raises
    ------
    DeviceError
        As `set_up`.
    """
    with connect(device) as connection, AgentSession(connection, device) as session:
        facts = session.facts()
        return None if (kind := _kind(device, target, facts)) is None else plan(session, facts, kind, progress)


def _kind(device: Device, target: Target | None, facts: Facts) -> str | None:
    """Return the kind of runtime that a board is to get; None for TensorRT, which no wheels of ours bring."""
    target = target or (load_target(device.target) if device.target else None)
    kind = target.runtime if target else "tflite"
    if kind != TENSORRT:
        return kind
    if missing := lacks(facts):
        text, fix = missing[0]
        raise DeviceError(f"{device.address}: {text}; TensorRT comes with JetPack, not as wheels from this host", fix=fix)
    return None
