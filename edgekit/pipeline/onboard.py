"""What a reference board makes of a build's candidates: an engine of each, raced there, and all of it cached here.

Called by ``build`` and ``finish``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgekit.device import Device, Facts
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.devices.transfer import send
from edgekit.digest import atomic_file, sha256_bytes, sha256_file
from edgekit.engine import EnginePrecision
from edgekit.errors import BuildError, DeviceError, InputError, LinkError
from edgekit.parse import from_json
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.engine import Plan, build_there, fetch, key_on, lacks, plan_on
from edgekit.pipeline.enginecache import ENGINE, CachedEngine, EngineCache
from edgekit.pipeline.link import persist
from edgekit.pipeline.precision import Candidate, Contest
from edgekit.pipeline.race import RaceResult, race
from edgekit.target import Target, unsupported

__all__ = ["Made", "look_at", "make"]


@dataclass(frozen=True)
class Made:
    """An engine of each precision, and who won.

    Attributes
    ----------
    race
        None where the board builds engines and cannot run them.
    reused
        Nothing was built or measured: an earlier build did it, on this board or one of the same kind.
    """

    engines: dict[EnginePrecision, CachedEngine]
    race: RaceResult | None
    reused: bool

    @property
    def winner(self) -> EnginePrecision:
        """The precision that is shipped."""
        return self.race.winner if self.race else next(iter(self.engines))


def make(
    device: Device,
    target: Target,
    candidates: Mapping[EnginePrecision, Candidate],
    contest: Contest,
    scratch: Path,
    *,
    cache: EngineCache | None = None,
    progress: Progress = silent,
) -> Made:
    """Let a board build an engine of each candidate and race them; what the cache knows of boards of this kind is not done again.

    Parameters
    ----------
    scratch
        A private folder for the files on their way.
    cache
        Default: the user's.

    Raises
    ------
    BuildError
        The board is not of the target's kind, lacks a GPU or TensorRT, or cannot build.
    DeviceError
        It cannot be reached, or stays away too long; what it was building goes on.
    """
    known = cache or EngineCache()

    def work(session: AgentSession, listening: Progress) -> Made:
        facts = session.facts()
        board = _board(target, facts, str(device.address))
        plans = {precision: _plan(board, candidate, str(device.address)) for precision, candidate in candidates.items()}
        kept = known.race_path(_identity(plans, contest))
        found = {precision: engine for precision, plan in plans.items() if (engine := known.find(plan.key))}
        raced, can_run = _read_race(kept), not lacks(facts)
        if len(found) == len(plans) and (raced or not can_run):
            return Made(found, raced, reused=True)
        engines = {}
        for precision, plan in plans.items():
            engines[precision] = _build(session, plan, candidates[precision], found.get(precision), known, scratch, listening)
        if not can_run:
            return Made(engines, None, reused=False)
        raced = _race(session, facts, plans, contest, listening)
        # Times that may not be believed decide between engines: the next build takes them again. With one engine they decide nothing.
        if raced.timed or len(plans) == 1:
            with atomic_file(kept, mode=0o600) as file:
                file.write(msgspec.json.encode(raced))
        return Made(engines, raced, reused=False)

    return persist(device, work, progress=progress, fix="what the board was building goes on there: the same command attaches to it")


def look_at(device: Device, target: Target, *, races: bool) -> None:
    """Refuse a board that cannot build for a target, before a calibration is spent on it.

    Parameters
    ----------
    races
        Several engines are to be raced, so it must run them as well.

    Raises
    ------
    BuildError
        See ``make``.
    DeviceError
        It cannot be reached.
    """
    with connect(device) as connection, AgentSession(connection, device) as session:
        facts = session.facts()
        _board(target, facts, str(device.address))
        if races and (missing := lacks(facts)):
            text, fix = missing[0]
            raise BuildError(
                f"{device.address}: {text}, so engines cannot be raced there", fix=f"{fix}; or --precision mixed, int8 or fp16"
            )


def _board(target: Target, facts: Facts, where: str) -> dict[str, Any]:
    """Return what of a board its engines depend on; refuse one that they could not be deployed to afterwards."""
    elsewhere = None
    if facts.machine not in target.machines:
        elsewhere = (facts.machine, target.machines)
    elif facts.board and target.boards and not facts.board.startswith(target.boards):
        elsewhere = (facts.board, target.boards)
    if elsewhere:
        text = f"it is a {elsewhere[0]}, {target.name} is {' or '.join(elsewhere[1])}"
        raise BuildError(f"{where}: {text}", fix="name such a board, or another target: edgekit targets list")
    if found := unsupported(target, facts):
        raise BuildError(f"{where}: {found[0]}", fix=found[1])
    return key_on(facts, where)


def _plan(board: Mapping[str, Any], candidate: Candidate, where: str) -> Plan:
    return plan_on(board, candidate.recipe, {name: sha256_bytes(data) for name, data in candidate.files.items()}, where)


def _build(
    session: AgentSession,
    plan: Plan,
    candidate: Candidate,
    found: CachedEngine | None,
    cache: EngineCache,
    scratch: Path,
    progress: Progress,
) -> CachedEngine:
    path = scratch / plan.source
    path.write_bytes(candidate.files[plan.source])
    send(session, {plan.key.onnx_sha256: path}, progress=progress)
    told = build_there(session, plan, cache, progress)
    # What is shipped is what is raced: the board's own, where it has built another than the cache holds.
    if found and found.account.files[ENGINE].sha256 == told.files[ENGINE].sha256:
        return found
    return fetch(session, plan, told, cache, progress)


def _race(session: AgentSession, facts: Facts, plans: Mapping[EnginePrecision, Plan], contest: Contest, progress: Progress) -> RaceResult:
    sha256 = sha256_file(contest.container)
    send(session, {sha256: contest.container}, progress=progress)
    try:
        return race(
            session,
            {precision: plan.key.digest for precision, plan in plans.items()},
            samples=sha256,
            preprocess=contest.preprocess,
            labels=contest.labels,
            float_predictions=contest.float_predictions,
            accuracy_drop_max=contest.accuracy_drop_max,
            cores=facts.cores,
            simulated=facts.simulated,
            threads=min(contest.threads, facts.cores),
            progress=progress,
        )
    except LinkError:
        raise
    except DeviceError as error:
        raise BuildError(
            f"the engines are built and stay on the board, but do not run there: {error.message}",
            fix="mend that on the board, then the same command: it goes on with the engines that are there",
        ) from error


def _identity(plans: Mapping[EnginePrecision, Plan], contest: Contest) -> dict[str, object]:
    """Name all that a race depends on, but for what the boards of one kind do differently."""
    return {
        "engines": sorted(plan.key.digest for plan in plans.values()),
        "samples": sha256_file(contest.container),
        "preprocess": contest.preprocess,
        "float_predictions": contest.float_predictions,
        "accuracy_drop_max": contest.accuracy_drop_max,
    }


def _read_race(path: Path) -> RaceResult | None:
    try:
        return from_json(path.read_bytes(), RaceResult, str(path))
    except (OSError, InputError):  # not there, or of another version: raced again
        return None
