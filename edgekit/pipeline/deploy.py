"""``edgekit deploy``: a bundle becomes the release a board runs.

Order: facts are checked before the first byte; blobs arrive and are verified; the release is staged beside the running one; where a
bundle holds only the recipe of a TensorRT engine, the board builds it; golden samples run on the board; only then one atomic rename
makes it current. Whatever breaks on the way, ``current`` is the old release or the new one, whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from edgekit.bundle import Bundle, damage
from edgekit.device import Device, Facts
from edgekit.devices import connect
from edgekit.devices.lease import leased
from edgekit.devices.session import AgentSession
from edgekit.errors import BuildError, DeployError, DeviceError, InputError, LinkError
from edgekit.manifest import Manifest, Requires
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.engine import TENSORRT, Plan, Told, build_there, fetch_timing, lacks, plan_for
from edgekit.pipeline.enginecache import EngineCache
from edgekit.pipeline.link import persist
from edgekit.pipeline.releases import ask_status
from edgekit.pipeline.trust import admit, signature_fields, signer
from edgekit.target import load_target, same_kind, target_names, unsupported

__all__ = ["Deployed", "deploy", "misfits", "stands_in"]

_STEP_TIMEOUT_S = 300.0
# Room left after the release: a full disk breaks more than a deployment.
_SPARE_BYTES = 16 << 20


@dataclass(frozen=True)
class Deployed:
    """What a deployment did.

    Attributes
    ----------
    release, previous
        Digests of the release now current and of the one before; they are equal when nothing changed.
    bytes_total, bytes_sent
        Size of the bundle, and what had to travel.
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
    stand_in: bool
    facts: Facts
    engine: Told | None = None
    signer: str | None = None
    serial: int | None = None


def stands_in(requires: Requires, facts: Facts) -> bool:
    """Tell whether a device is not the kind of board a bundle was built for.

    Figures from such a device say nothing about the board; every report from it is marked.
    """
    other_machine = facts.machine not in requires.machines
    other_board = bool(requires.boards) and not (facts.board or "").startswith(requires.boards)
    return other_machine or other_board or facts.simulated


def misfits(manifest: Manifest, device: Device, facts: Facts, *, stand_in: bool) -> list[tuple[str, str | None]]:
    """Return what keeps a bundle off a device, each with its fix; empty when nothing does.

    Parameters
    ----------
    stand_in
        The device need not be the kind of board the bundle was built for.
    """
    found: list[tuple[str, str | None]] = []
    requires = manifest.requires
    anyway = "build for this board (edgekit targets list), or --stand-in to try the bundle here with every figure marked simulated"
    if not stand_in:
        if facts.machine not in requires.machines:
            found.append((f"it is a {facts.machine}, the bundle is for {' or '.join(requires.machines)}", anyway))
        elif facts.board and requires.boards and not facts.board.startswith(requires.boards):
            found.append((f"it is a {facts.board}, the bundle is for {' or '.join(requires.boards)}", anyway))
        elif device.target and not same_kind(device.target, manifest.target):
            found.append((f"[devices.{device.name}] says it is a {device.target}, the bundle is for {manifest.target}", anyway))
        elif manifest.target in target_names() and (other := unsupported(load_target(manifest.target), facts)):
            found.append(other)
    if _version(facts.python) < _version(requires.python):
        found.append(
            (f"its Python is {facts.python}, the bundle needs {requires.python}", "name a newer one: python = ... under [devices.NAME]")
        )
    if requires.runtime == TENSORRT:
        return [*found, *lacks(facts)]
    fitting = [runtime for runtime in facts.runtimes if runtime.kind == requires.runtime]
    if not any(runtime.error is None for runtime in fitting):
        broken = "; ".join(f"{r.name} {r.version}: {r.error}" for r in fitting)
        text = f"no {requires.runtime} runtime runs there" + (f" ({broken})" if broken else "")
        found.append((text, f"edgekit device setup DEVICE --target {manifest.target}"))
    return found


def deploy(
    bundle: Bundle,
    device: Device,
    *,
    stand_in: bool = False,
    dry_run: bool = False,
    allowed_signers: Path | None = None,
    progress: Progress = silent,
) -> Deployed:
    """Make a bundle the current release on a board.

    Parameters
    ----------
    stand_in
        Accept a board of another machine type; everything measured there is marked.
    dry_run
        Stop after the checks: nothing is sent.
    allowed_signers
        Whose signatures count on this host; the board has a list of its own.

    Raises
    ------
    InputError
        The bundle's bytes are not those its manifest names.
    DeviceError
        The board cannot be reached, or the connection broke; the next deployment goes on from there.
    DeployError
        The board does not fit, has no room, or the golden samples answer wrongly; nothing changed.
    BusyError
        Somebody else holds the board.
    """
    if broken := damage(bundle):
        raise InputError(f"the bundle is damaged: {broken[0]}", fix="build or copy the bundle again")
    signer(bundle, allowed_signers)
    manifest = bundle.manifest
    with connect(device) as connection, AgentSession(connection, device) as session:
        facts = session.facts()
        if found := misfits(manifest, device, facts, stand_in=stand_in):
            text, fix = found[0]
            raise DeployError(f"{device.address}: {text}; nothing of the release was sent", fix=fix and fix.replace("DEVICE", device.name))
        admitted = admit(session, bundle)
        plan = plan_for(manifest, facts, device)
        missing, free_bytes = _missing(bundle, session)
        need = sum(missing.values()) + _SPARE_BYTES
        if free_bytes < need:
            raise DeployError(
                f"{device.address}: {free_bytes >> 20} MiB free, the release needs {need >> 20} MiB; nothing of the release was sent",
                fix="free some space on the board",
            )
        before = next((app.current for app in ask_status(session, manifest.name).apps), None)
        sent = sum(missing.values())
        golden: dict[str, Any] = {}
        told = None
        if not dry_run:
            with leased(session, reason=f"deploy {manifest.name} {bundle.digest[:12]}"):
                sent = _deliver(bundle, session, missing, progress)
                if plan is None:
                    golden = _switch(bundle, session, str(device.address), progress)
                else:
                    connection.close()  # the link may be another one by the end: an engine's build outlives it
                    told = _build(plan, device, session.lease, progress)
                    with connect(device) as connection, AgentSession(connection, device, lease=session.lease) as session:
                        golden = _switch(bundle, session, str(device.address), progress)
    return Deployed(
        device=str(device.address),
        app=manifest.name,
        release=bundle.digest,
        previous=before,
        bytes_total=sum(entry.bytes for entry in bundle.entries),
        bytes_sent=sent,
        golden=golden,
        stand_in=stands_in(manifest.requires, facts),
        facts=facts,
        engine=told,
        signer=admitted.signer,
        serial=admitted.serial,
    )


def _build(plan: Plan, device: Device, lease: str | None, progress: Progress) -> Told:
    """Let the board build the engine of the release that is staged there, and keep here what it has timed."""
    cache = EngineCache()

    def work(session: AgentSession, listening: Progress) -> Told:
        told = build_there(session, plan, cache, listening)
        fetch_timing(session, plan, told, cache)
        return told

    try:
        fix = "the board goes on building its engine: the same command attaches to it"
        return persist(device, work, lease=lease, progress=progress, fix=fix)
    except BuildError as error:
        raise DeployError(f"{error.message}; the current release is unchanged", fix=error.fix) from error


class _Part(msgspec.Struct, frozen=True):
    sha256: str
    have_bytes: Annotated[int, msgspec.Meta(ge=0)]


class _Missing(msgspec.Struct, frozen=True):
    missing: tuple[_Part, ...]
    free_bytes: Annotated[int, msgspec.Meta(ge=0)]


def _missing(bundle: Bundle, session: AgentSession) -> tuple[dict[str, int], int]:
    """Ask which blobs the device lacks: digest -> bytes still to send; and how much room it has."""
    sizes = {entry.sha256: entry.bytes for entry in bundle.entries}
    data = session.job("store.missing", timeout_s=_STEP_TIMEOUT_S, blobs=sizes)
    try:
        answer = msgspec.convert(data, _Missing)
    except msgspec.ValidationError as error:
        raise DeviceError(f"{session.device.address}: the answer to store.missing is malformed: {error}") from error
    wanted = {part.sha256: max(0, sizes[part.sha256] - part.have_bytes) for part in answer.missing if part.sha256 in sizes}
    return wanted, answer.free_bytes


def _deliver(bundle: Bundle, session: AgentSession, missing: dict[str, int], progress: Progress) -> int:
    """Send what is missing and stage the release; return how many bytes went.

    Staging checks every stored byte again and deletes a blob that has been damaged since, so that
    deploying again mends a device. Each round mends at least one blob.
    """
    entries = {entry.sha256: entry for entry in bundle.entries}
    files = [{"path": entry.path, "sha256": entry.sha256, "bytes": entry.bytes} for entry in bundle.entries]
    trust = signature_fields(bundle)
    sent = 0
    for rounds_left in range(len(entries), -1, -1):
        for sha256, count in sorted(missing.items()):
            path, size = bundle.folder / entries[sha256].path, entries[sha256].bytes
            session.push_blob(path, sha256, progress=progress, have_bytes=size - count)
            sent += count
        progress("stage", 0, 1)
        try:
            session.job("store.stage", timeout_s=_STEP_TIMEOUT_S, app=bundle.manifest.name, release=bundle.digest, files=files, **trust)
        except DeployError:
            missing, _ = _missing(bundle, session)
            if not missing or not rounds_left:
                raise
        else:
            break
    progress("stage", 1, 1)
    return sent


class _Golden(msgspec.Struct, frozen=True):
    """A golden check's result; ``max_diff`` is in quantization steps, None when an answer was no number."""

    ok: bool
    count: Annotated[int, msgspec.Meta(ge=1)]
    max_diff: float | None
    tolerance: float


def _switch(bundle: Bundle, session: AgentSession, address: str, progress: Progress) -> dict[str, Any]:
    app, release = bundle.manifest.name, bundle.digest
    progress("golden check", 0, 2)
    golden = _golden(session, bundle, address)
    if not golden.ok:
        raise DeployError(
            f"{address}: the golden samples differ by {golden.max_diff} steps, {golden.tolerance:g} are allowed; "
            "the current release is unchanged",
            fix="look at its runtime: edgekit device facts",
        )
    progress("golden check", 1, 2)
    try:
        session.job("store.activate", timeout_s=_STEP_TIMEOUT_S, app=app, release=release)
    except LinkError as error:
        raise LinkError(
            f"{error.message}, while {release[:12]} was being made current: it may be, or the old release still is; both are whole",
            fix="see which: edgekit status; then deploy again",
        ) from error
    progress("golden check", 2, 2)
    return msgspec.structs.asdict(golden)


def _golden(session: AgentSession, bundle: Bundle, address: str) -> _Golden:
    app, release = bundle.manifest.name, bundle.digest
    try:
        return msgspec.convert(session.job("golden", timeout_s=_STEP_TIMEOUT_S, app=app, release=release), _Golden)
    except LinkError:
        raise
    except DeviceError as error:
        # No wheels of ours bring what TensorRT needs.
        fix = "mend that on the board, then deploy again" if bundle.manifest.runtime == TENSORRT else error.fix
        text = f"{address}: the golden samples do not run there: {error.message}; the current release is unchanged"
        raise DeployError(text, fix=fix) from error
    except msgspec.ValidationError as error:
        raise DeviceError(f"{address}: the answer to golden is malformed: {error}; the current release is unchanged") from error


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())
