"""``edgekit deploy``: a bundle becomes the release a board runs.

Order: facts are checked before the first byte; blobs arrive and are verified; the release is staged beside the running one; where a
bundle holds only the recipe of a TensorRT engine, the board builds it; golden samples run on the board; one atomic rename makes it
current, watched over by a process on the board; there it proves itself, or the board goes back; then it is committed. Every step may be
done again, so that a lost link is made anew and the deployment goes on where it stood. docs/deployment.md has it all.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgekit.bundle import Bundle, damage
from edgekit.device import Device, Facts
from edgekit.devices import connect
from edgekit.devices.lease import leased
from edgekit.devices.session import AgentSession
from edgekit.devices.transfer import Lacking, ask, check_room, send
from edgekit.errors import BuildError, DeadlineError, DeployError, EdgekitError, InputError, LinkError
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.activate import STEP_TIMEOUT_S, Deployment, Proof, activate, check_golden, commit, prove, settle, take_back
from edgekit.pipeline.engine import Plan, Told, build_there, fetch_timing, plan_for
from edgekit.pipeline.enginecache import EngineCache
from edgekit.pipeline.fit import misfits, stands_in
from edgekit.pipeline.hooks import check_hooks
from edgekit.pipeline.link import persist
from edgekit.pipeline.releases import ask_status
from edgekit.pipeline.service import Look, Served, drop_service, install_service, look_for_service
from edgekit.pipeline.trust import Admitted, admit, signature_fields, signer
from edgekit.project import DeploySection

__all__ = ["Deployed", "deploy"]

# Whoever interrupts a deployment waits no longer than this for the board to hear of it.
_TAKE_BACK_TIMEOUT_S = 10.0

T = TypeVar("T")


@dataclass(frozen=True)
class Deployed:
    """What a deployment did.

    Attributes
    ----------
    release, previous
        Digests of the release now current and of the one before; they are equal when nothing changed.
    bytes_total, bytes_sent
        Size of the bundle, and what had to travel.
    golden, latency_p99_ms
        What the release showed once it was current; the second where the bundle has a ceiling.
    pruned
        Releases that were removed from the board.
    stand_in
        The board is not of the kind the bundle was built for.
    engine
        What the board has built of the release's recipe; None where there was nothing to build.
    signer, serial
        Who signed the release, by the board's allowed signers (None: nobody it knows), and its place among the releases.
    """

    device: str
    app: str
    release: str
    previous: str | None
    bytes_total: int
    bytes_sent: int
    golden: dict[str, Any]
    latency_p99_ms: float | None
    service: Served | None
    pruned: tuple[str, ...]
    stand_in: bool
    facts: Facts
    engine: Told | None = None
    signer: str | None = None
    serial: int | None = None


def deploy(
    bundle: Bundle,
    device: Device,
    *,
    terms: DeploySection | None = None,
    folder: Path | None = None,
    stand_in: bool = False,
    service_port: int | None = None,
    dry_run: bool = False,
    allowed_signers: Path | None = None,
    rate_bytes_s: int | None = None,
    name: str | None = None,
    progress: Progress = silent,
) -> Deployed:
    """Make a bundle the current release on a board.

    Parameters
    ----------
    terms
        How long the release has to prove itself, and how many stay; and the hooks that need no signature.
    folder
        The project's, where hooks find their programs.
    stand_in
        Accept a board of another machine type; everything measured there is marked.
    service_port
        Let the model be served there over HTTP, see `edgekit.pipeline.service`; one that is served already goes on without.
    dry_run
        Stop after the checks: nothing is sent.
    allowed_signers
        Whose signatures count on this host; the board has a list of its own.
    rate_bytes_s
        What its files may take of the link; None: all of it.
    name
        What the deployment is called on the board, 16 hex digits: one whose host was lost goes on under its name. None for a new one.

    Raises
    ------
    InputError
        The bundle's bytes are not those its manifest names, or its signature does not count.
    DeviceError
        The board cannot be reached, or the connection broke and did not come again.
    DeployError
        The board does not fit, has no room, nobody vouches for the bundle's hooks, or the release did not prove itself; what ran
        before runs on, or again.
    InconsistentError
        The release did not prove itself, and the board could not go back.
    BusyError
        Somebody else holds the board, or another deployment is being decided there.
    """
    if broken := damage(bundle):
        raise InputError(f"the bundle is damaged: {broken[0]}", fix="build or copy the bundle again")
    signed, terms = signer(bundle, allowed_signers), terms or DeploySection()
    if signed is None or signed.name is None:
        check_hooks(bundle, terms, folder)
    deployment = Deployment(bundle, terms.deadline_s, service_port, name or secrets.token_hex(8))
    course = _Course(deployment, device, terms.keep, rate_bytes_s, stand_in=stand_in, dry_run=dry_run)
    try:
        return persist(device, course.run, progress=progress, fix="the same command goes on from there; edgekit status says what runs")
    except (LinkError, DeadlineError) as error:
        raise type(error)(f"{error.message}; {course.stands}", fix=error.fix or "edgekit status says what runs") from error
    except BaseException as stop:
        if not isinstance(stop, Exception):
            stop.args = (course.abandon(),)
        raise


class _Course:
    """The steps of one deployment in their order; over a new link it goes on behind the last one that was done."""

    def __init__(
        self, deployment: Deployment, device: Device, keep: int, rate_bytes_s: int | None, *, stand_in: bool, dry_run: bool
    ) -> None:
        self._deployment, self._device, self._keep, self._rate_bytes_s = deployment, device, keep, rate_bytes_s
        self._stand_in, self._dry_run = stand_in, dry_run
        self._done: dict[str, Any] = {}
        self._reason = f"deploy {deployment.bundle.manifest.name} {deployment.bundle.digest[:12]}"
        self.stands = "nothing has changed on the board"

    def run(self, session: AgentSession, progress: Progress) -> Deployed:
        """Do what is not done yet, under a lease: one that a lost link left behind is taken up again."""
        bundle = self._deployment.bundle
        facts = self._once("facts", lambda: session.facts(bundle.manifest.requires.runtime))
        plan = self._once("plan", lambda: self._fit(facts))
        with nullcontext() if self._dry_run else leased(session, reason=self._reason):
            admitted: Admitted = self._once("admit", lambda: admit(session, bundle))
            look = self._once("look", lambda: self._look(session))
            fresh = "room" not in self._done  # what was said over a link that is lost may have changed since
            room = self._once("room", lambda: self._room(session))
            if not self._dry_run:
                self._change(session, plan, room if fresh else None, progress)
        before, proof = self._done.get("before"), self._done.get("prove")
        return Deployed(
            device=str(self._device.address),
            app=bundle.manifest.name,
            release=bundle.digest,
            previous=before,
            bytes_total=sum(entry.bytes for entry in bundle.entries),
            bytes_sent=self._done.get("deliver", room.bytes_to_send),
            golden=msgspec.structs.asdict(proof.golden) if proof else {},
            latency_p99_ms=proof.latency_p99_ms if proof else None,
            service=Served.of(proof.service_port if proof else None, look),
            pruned=self._done.get("commit", ()),
            stand_in=stands_in(bundle.manifest.requires, facts),
            facts=facts,
            engine=self._done.get("engine"),
            signer=admitted.signer,
            serial=admitted.serial,
        )

    def _change(self, session: AgentSession, plan: Plan | None, lacking: Lacking | None, progress: Progress) -> None:
        deployment, bundle = self._deployment, self._deployment.bundle
        app, release = bundle.manifest.name, bundle.digest[:12]
        self._once("before", lambda: settle(session, app))
        self.stands = "the current release is unchanged"
        self._once("deliver", lambda: _deliver(deployment, session, lacking, self._rate_bytes_s, progress))
        self._once("engine", lambda: _build(session, plan, progress) if plan else None)
        progress("golden check", 0, 1)
        self._once("golden", lambda: check_golden(session, deployment))
        progress("golden check", 1, 1)
        self.stands = (
            f"{release} may be current and is not proven: unless it is, the board goes back by itself "
            f"{deployment.deadline_s:g} s after the switch"
        )
        self._once("activate", lambda: activate(session, deployment))
        self._once("prove", lambda: self._prove(session, progress))
        self.stands = f"{release} runs, and has proved itself"
        self._once("commit", lambda: commit(session, deployment, self._keep))

    def _prove(self, session: AgentSession, progress: Progress) -> Proof:
        """Prove the release, by its service too; a service that came with a release that is taken back goes with it."""
        app, port = self._deployment.bundle.manifest.name, self._deployment.service_port
        try:
            if port is not None:
                self._once("service", lambda: install_service(session, app, port))
            return prove(session, self._deployment, progress)
        except DeployError:
            if port is not None and "service" not in self._done:
                take_back(session, self._deployment)
            elif not self._done.get("service", True):
                drop_service(session, app)
            raise

    def abandon(self) -> str:
        """Let the board go back at once, when the user wants no more of it; say how things stand."""
        if "golden" not in self._done:
            return f"{self.stands}; the same command goes on from there"
        try:
            with connect(self._device, timeout_s=_TAKE_BACK_TIMEOUT_S) as connection, AgentSession(connection, self._device) as session:
                with leased(session, reason=self._reason, needed=False):
                    take_back(session, self._deployment)
                (app,) = ask_status(session, self._deployment.bundle.manifest.name).apps
        except EdgekitError as error:
            return f"the board was not told to go back ({error.message}): {self.stands}"
        return f"the board was told: {(app.current or 'nothing')[:12]} runs there, {app.state}"

    def _once(self, step: str, work: Callable[[], T]) -> T:
        if step not in self._done:
            self._done[step] = work()
        result: T = self._done[step]
        return result

    def _fit(self, facts: Facts) -> Plan | None:
        manifest, device = self._deployment.bundle.manifest, self._device
        if found := misfits(manifest, device, facts, stand_in=self._stand_in):
            text, fix = found[0]
            raise DeployError(f"{device.address}: {text}; nothing of the release was sent", fix=fix and fix.replace("DEVICE", device.name))
        return plan_for(manifest, facts, device)

    def _look(self, session: AgentSession) -> Look | None:
        port = self._deployment.service_port
        return None if port is None else look_for_service(session, self._deployment.bundle.manifest.name, port)

    def _room(self, session: AgentSession) -> Lacking:
        lacking = ask(session, _blobs(self._deployment.bundle))
        check_room(session, lacking)
        return lacking


def _build(session: AgentSession, plan: Plan, progress: Progress) -> Told:
    """Let the board build the engine of the release that is staged there, and keep here what it has timed."""
    cache = EngineCache()
    try:
        told = build_there(session, plan, cache, progress)
    except BuildError as error:
        raise DeployError(f"{error.message}; the current release is unchanged", fix=error.fix) from error
    fetch_timing(session, plan, told, cache)
    return told


def _deliver(deployment: Deployment, session: AgentSession, lacking: Lacking | None, rate_bytes_s: int | None, progress: Progress) -> int:
    """Send what is missing and stage the release; return how many bytes went.

    Staging checks every stored byte again and deletes a blob that has been damaged since, so that
    deploying again mends a device. Each round mends at least one blob.
    """
    bundle = deployment.bundle
    files = [{"path": entry.path, "sha256": entry.sha256, "bytes": entry.bytes} for entry in bundle.entries]
    trust, sent = signature_fields(bundle), 0
    for rounds_left in range(len(files), -1, -1):
        sent += send(session, _blobs(bundle), lacking=lacking, rate_bytes_s=rate_bytes_s, progress=progress, **deployment.fields).bytes_sent
        progress("stage", 0, 1)
        try:
            session.job("store.stage", timeout_s=STEP_TIMEOUT_S, **deployment.fields, files=files, **trust)
        except DeployError:
            lacking = ask(session, _blobs(bundle))
            if not lacking.gaps or not rounds_left:
                raise
        else:
            break
    progress("stage", 1, 1)
    return sent


def _blobs(bundle: Bundle) -> dict[str, Path]:
    return {entry.sha256: bundle.folder / entry.path for entry in bundle.entries}
