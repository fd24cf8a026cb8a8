"""The steps on a board that decide which release runs, each one job that may be asked again. Called by ``deploy``.

The board's side, with its states and its watchdog, is `edgekit.ondevice.deploy`, ``prove`` and ``recover``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec

from edgekit.bundle import Bundle
from edgekit.devices.session import AgentSession
from edgekit.errors import DeployError, DeviceError, InconsistentError, LinkError
from edgekit.pipeline import Progress
from edgekit.pipeline.engine import TENSORRT

__all__ = [
    "HOOK_MAX_S", "STEP_TIMEOUT_S", "Deployment", "Golden", "Proof", "activate", "check_golden", "commit", "prove", "settle", "take_back",
]  # fmt: skip

STEP_TIMEOUT_S = 300.0
HOOK_MAX_S = 3600.0
"""See `edgekit.health.Hook`: what a release that the board goes back to may take to restart is its own to say."""

T = TypeVar("T")


@dataclass(frozen=True)
class Deployment:
    """One deployment of one bundle: its name ties the entries in the board's journal together, and makes its steps repeatable.

    Attributes
    ----------
    deadline_s
        Unproven that long after the switch, the board goes back by itself.
    service_port
        Where the model is to be served; None leaves that as it is.
    """

    bundle: Bundle
    deadline_s: float
    service_port: int | None
    name: str

    @property
    def fields(self) -> dict[str, Any]:
        """What the jobs know it by."""
        return {"app": self.bundle.manifest.name, "release": self.bundle.digest, "deployment": self.name}


class Golden(msgspec.Struct, frozen=True):
    """A golden check's result; ``max_diff`` is in quantization steps, None when an answer was no number."""

    ok: bool
    count: Annotated[int, msgspec.Meta(ge=1)]
    max_diff: float | None
    tolerance: float


class Proof(msgspec.Struct, frozen=True):
    """What the release showed once it was current.

    Attributes
    ----------
    latency_p99_ms
        Where the bundle has a ceiling for it.
    service_port
        Where the application's service answers with it, if it has one.
    """

    golden: Golden
    latency_p99_ms: float | None = None
    service_port: int | None = None


class _Settled(msgspec.Struct, frozen=True):
    current: dict[str, str | None]


class _Proved(msgspec.Struct, frozen=True):
    proof: Proof


class _Activated(msgspec.Struct, frozen=True):
    changed: bool


class _Committed(msgspec.Struct, frozen=True):
    pruned: tuple[str, ...]


def settle(session: AgentSession, app: str) -> str | None:
    """Let the board put in order what an earlier deployment of the application left behind; return the release that is current then.

    Raises
    ------
    InconsistentError
        It cannot, and cannot even write that down: its disk fails.
    """
    timeout_s = STEP_TIMEOUT_S + HOOK_MAX_S
    try:
        data = session.job("deploy.settle", timeout_s=timeout_s, app=app)
    except InconsistentError:  # told once; written down, it is an answer like others, and a new deployment is what mends it
        data = session.job("deploy.settle", timeout_s=timeout_s, app=app)
    return _read(session, "deploy.settle", data, _Settled).current.get(app)


def check_golden(session: AgentSession, deployment: Deployment) -> Golden:
    """Run the staged release on its golden samples, before anything is switched.

    Raises
    ------
    DeployError
        They do not run there, or answer wrongly.
    """
    bundle, address = deployment.bundle, session.device.address
    app, release = bundle.manifest.name, bundle.digest
    try:
        data = session.job("golden", timeout_s=STEP_TIMEOUT_S, app=app, release=release)
    except LinkError:
        raise
    except DeviceError as error:
        # No wheels of ours bring what TensorRT needs.
        fix = "mend that on the board, then deploy again" if bundle.manifest.runtime == TENSORRT else error.fix
        text = f"{address}: the golden samples do not run there: {error.message}; the current release is unchanged"
        raise DeployError(text, fix=fix) from error
    golden = _read(session, "golden", data, Golden)
    if not golden.ok:
        raise DeployError(
            f"{address}: the golden samples differ by {golden.max_diff} steps, {golden.tolerance:g} are allowed; "
            "the current release is unchanged",
            fix="look at its runtime: edgekit device facts",
        )
    return golden


def activate(session: AgentSession, deployment: Deployment) -> bool:
    """Make the staged release current, unproven yet and watched over; tell whether anything was switched.

    Raises
    ------
    BusyError
        Another deployment of the application is being decided.
    DeployError
        The release is not whole, or this deployment was taken back already.
    """
    data = session.job("deploy.activate", timeout_s=STEP_TIMEOUT_S, **deployment.fields, deadline_s=deployment.deadline_s)
    return _read(session, "deploy.activate", data, _Activated).changed


def prove(session: AgentSession, deployment: Deployment, progress: Progress) -> Proof:
    """Let the board prove the release where it now is: golden samples, latency, hooks.

    Raises
    ------
    DeployError
        It did not prove itself, and what ran before runs again.
    InconsistentError
        It did not, and the board could not go back.
    """
    timeout_s, threads = deployment.deadline_s + HOOK_MAX_S + STEP_TIMEOUT_S, deployment.bundle.manifest.threads
    data = session.job("deploy.prove", timeout_s=timeout_s, progress=progress, **deployment.fields, threads=threads)
    return _read(session, "deploy.prove", data, _Proved).proof


def commit(session: AgentSession, deployment: Deployment, keep: int) -> tuple[str, ...]:
    """Make the proven release the one that stays; return the releases that were removed to keep as many as ``keep``."""
    data = session.job("deploy.commit", timeout_s=STEP_TIMEOUT_S, **deployment.fields, keep=keep)
    return _read(session, "deploy.commit", data, _Committed).pruned


def take_back(session: AgentSession, deployment: Deployment) -> None:
    """Tell the board to go back at once, if the deployment is not proven yet."""
    session.job("store.rollback", timeout_s=STEP_TIMEOUT_S, app=deployment.bundle.manifest.name, deployment=deployment.name)


def _read(session: AgentSession, name: str, data: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise DeviceError(f"{session.device.address}: the answer to {name} is malformed: {error}") from error
