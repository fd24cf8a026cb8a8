"""Every crash state of every way of changing what a board runs, recovered and judged.

Called by the tests and by ``python -m tests.survival``.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekit.device import Device
from edgekit.devices import connect
from edgekit.devices.lease import release
from edgekit.devices.session import AgentSession
from edgekit.errors import DeployError
from edgekit.pipeline.releases import App, ask_status, rollback
from tests.survival.disk import build, crash_states, digest, replay
from tests.survival.inside import inside
from tests.survival.look import look
from tests.survival.material import Sample, put
from tests.survival.recording import Recording, record, scan

__all__ = ["SCENARIOS", "Outcome", "Scenario", "explore", "free", "recorded", "violation", "violation_without"]


@dataclass(frozen=True)
class Scenario:
    """What a board has taken before, and what is then recorded: the deployment of a bundle of a kind, or going back.

    Attributes
    ----------
    damaged
        The artifact of the current release loses its bytes before; the same bundle is deployed again.
    """

    name: str
    before: tuple[str, ...] = ()
    then: str = "rollback"
    damaged: bool = False


SCENARIOS = (
    Scenario("the first release", (), "hooks"),
    Scenario("the next release", ("hooks",), "plain"),
    Scenario("one that prunes", ("plain", "hooks", "many"), "plain-2"),
    Scenario("wrong golden answers", ("plain",), "wrong-golden"),
    Scenario("ill after the switch", ("hooks",), "bad-health"),
    Scenario("ill, and the first", (), "bad-health"),
    Scenario("back by the operator", ("hooks", "plain"), "rollback"),
    Scenario("mending a damaged release", ("plain", "hooks"), "hooks", damaged=True),
)


@dataclass
class Case:
    """A scenario played: its recording, and what may be seen from each operation on."""

    scenario: Scenario
    recording: Recording
    before: str | None
    target: str | None
    good: bool
    app: str

    @property
    def proven_from(self) -> float:
        """The first operation after which somebody may say that the target is proven."""
        for place, op in enumerate(self.recording.operations):
            if op.what == "write" and (b'"event": "proven"' in op.data or b'"becomes": "rolled-back"' in op.data):
                return place
        return float("inf")


@dataclass
class Outcome:
    """What an exploration found."""

    states: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def recorded(scenario: Scenario, samples: dict[str, Sample], folder: Path) -> Case:
    """Play a scenario in an empty folder and record its last step.

    Raises
    ------
    AssertionError
        The recording, replayed, is not what is on the disk.
    """
    root = folder / "root"
    with inside(root) as device:
        for kind in scenario.before:
            put(samples[kind], device)
        app = next(iter(samples.values())).app
        current = look(str(root)).get(app, {}).get("current")
        target, good = samples[scenario.then] if scenario.then != "rollback" else None, True
        if scenario.damaged:
            artifact = root / "apps" / app / "current" / "model.tflite"
            artifact.chmod(0o644)
            artifact.write_bytes(b"")
        with record(folder) as recording:
            if target is None:
                rollback(device, app)
            else:
                good = target.good
                try:
                    put(target, device)
                except DeployError:
                    assert not good, scenario
                else:
                    assert good, scenario
        now = look(str(root))[app]["current"]
    assert digest(replay(recording.before, recording.operations)) == digest(scan(folder)[0]), f"{scenario.name}: something was not recorded"
    return Case(scenario, recording, current, target.digest if target else now, good, app)


def _status(device: Device, app: str) -> App | None:
    with connect(device) as connection, AgentSession(connection, device) as session:
        return next(iter(ask_status(session, app).apps), None)


def _settle(device: Device) -> None:
    with connect(device) as connection, AgentSession(connection, device) as session:
        session.job("deploy.settle", timeout_s=60)


def free(device: Device) -> None:
    """End the lease of the host that was cut off; its own next command would go on under it."""
    with connect(device) as connection, AgentSession(connection, device) as session:
        release(session, force=True)


def violation(case: Case, place: int, root: Path, following: Sample) -> str | None:
    """Return what is wrong with a state that a cut left after so many operations, or with what recovery makes of it; else None."""
    over = place >= len(case.recording.operations)
    with inside(root) as device:
        found = look(str(root)).get(case.app, {"current": None, "wrong": None})
        if found["current"] not in (case.before, case.target):
            return f"current is {found['current']}"
        if found["wrong"] and not case.scenario.damaged:
            return f"current is torn: {found['wrong']}"
        told = _status(device, case.app)
        if told and (told.current or told.state != "none"):
            if told.current != found["current"] or (told.whole != (found["wrong"] is None) and told.current):
                return f"status says {told.current} is current, whole: {told.whole}"
            if told.state in ("proven", "committed") and told.current == case.target != case.before and place <= case.proven_from:
                return f"status says {told.state} without proof"
        _settle(device)
        found, told = look(str(root)).get(case.app, {"current": None, "wrong": None}), _status(device, case.app)
        wanted = {case.target} if over and case.good else {case.before, case.target} if case.good else {case.before}
        if found["current"] not in wanted:
            return f"after settling {found['current']} is current"
        if found["current"] and (told is None or told.state not in ("committed", "rolled-back")):
            return f"after settling it is {told and told.state}"
        if found["current"] == case.target != case.before and place <= case.proven_from:
            return "after settling the target is current without proof"
        free(device)
        put(following, device)
        found, told = look(str(root))[case.app], _status(device, case.app)
        if found != {**found, "current": following.digest, "wrong": None} or told is None or told.state != "committed":
            return f"the next deployment left {found}, {told and told.state}"
    return None


def explore(case: Case, samples: dict[str, Sample], scratch: Path, count: int | None = None, seed: int = 0) -> Outcome:
    """Judge the crash states of a case, all or a seeded choice of so many.

    Parameters
    ----------
    scratch
        A folder for the states, best in memory: each is built, recovered and removed.
    """
    states = list(crash_states(case.recording, seed))
    if count is not None and count < len(states):
        states = random.Random(seed).sample(states, count)
    outcome = Outcome()
    following = itertools.cycle(
        [samples["plain-3"], samples[case.scenario.then if case.good and case.scenario.then in samples else "hooks"]]
    )
    for number, (place, tree) in enumerate(states):
        folder = scratch / f"state{number}"
        folder.mkdir()
        try:
            build(tree, folder)
            wrong = _judged(case, place, folder / "root", next(following))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        outcome.states[case.scenario.name] += 1
        if wrong:
            outcome.violations.append(f"{case.scenario.name}, cut after operation {place}: {wrong}")
    return outcome


def _judged(case: Case, place: int, root: Path, following: Sample) -> str | None:
    try:
        return violation(case, place, root, following)
    except Exception as error:  # noqa: BLE001  # whatever recovery dies of is what is looked for
        return f"{type(error).__name__}: {error}"


def violation_without(case: Case, left_out: str, samples: dict[str, Sample], scratch: Path, count: int) -> str | None:
    """Leave out the syncs of the paths that end so; return what then goes wrong in one of so many states that could not be before."""
    kept = [op for op in case.recording.operations if not (op.what == "sync" and op.name.endswith(left_out))]
    poorer = replace(case, recording=Recording(case.recording.root, case.recording.before, kept))
    usual = {digest(tree) for _, tree in crash_states(case.recording)}
    worse = [(place, tree) for place, tree in crash_states(poorer.recording) if digest(tree) not in usual]
    for number, (place, tree) in enumerate(random.Random(0).sample(worse, min(count, len(worse)))):
        folder = scratch / f"without{number}"
        folder.mkdir()
        try:
            build(tree, folder)
            wrong = _judged(poorer, place, folder / "root", samples["plain-3"])
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if wrong:
            return f"cut after operation {place}: {wrong}"
    return None
