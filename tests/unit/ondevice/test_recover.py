"""What settling makes of every state that a power cut, a killed watchdog or a host that has gone may leave: docs/deployment.md, as data."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

from edgekit.ondevice import disk, journal, recover, releases, store
from edgekit.ondevice.wire import AgentError

from .conftest import Agent

D, OLD_D = "d" * 16, "c" * 16


def quiet(stage: str, done: int, total: int) -> None:
    pass


class App:
    """An application's releases 1, 2, 3 and what is done to it step by step, without a watchdog."""

    def __init__(self, root: Path, release: dict[int | None, str | None]) -> None:
        self.root, self.trace, self.release = str(root), root / "trace", release

    def note(self, event: str, release: int | None, previous: int | None = None, **more: Any) -> None:
        digests = {key: self.release[value] for key, value in more.items() if key in ("earlier", "left")}
        journal.note(self.root, "meter", event, self.release[release], self.release[previous], **{**more, **digests})

    def link(self, name: str, release: int | None) -> None:
        releases._link(self.root, "meter", name, self.release[release])

    def do(self, steps: list[tuple[Any, ...]]) -> None:
        with disk.locked(self.root):
            for step in steps:
                getattr(self, step[0])(*step[1:])

    def committed(self, release: int, previous: int | None = None) -> None:
        self.link("current", release)
        self.link("previous", previous)
        self.note("committed", release, previous, deployment=OLD_D, by="host")

    def intent(self, release: int, previous: int | None, earlier: int | None = None) -> None:
        self.note("switching", release, previous, becomes="activated", deployment=D, deadline=1.0, earlier=earlier)

    def activated(self, release: int, previous: int | None, earlier: int | None = None) -> None:
        self.note("activated", release, previous, deployment=D, deadline=1.0, earlier=earlier)

    def back(self, release: int | None, previous: int | None) -> None:
        self.note("switching", release, previous, becomes="rolled-back", deployment=D, why="it failed", by="proof")

    def legacy(self, event: str, release: int, previous: int | None = None) -> None:
        self.note(event, release, previous, **({"becomes": "activated"} if event == "switching" else {}))

    def stands(self) -> tuple[Any, ...]:
        now = releases.standing(self.root, "meter")
        number = {digest: key for key, digest in self.release.items()}
        restarts = self.trace.read_text().split() if self.trace.exists() else []
        return now.state, number[now.current], number[now.previous], restarts


@pytest.fixture(scope="module")
def staged(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> App:
    """The releases, none of them current; their restart hooks write into the root's ``trace``, and fail once ``broken`` is there."""
    agent = Agent(sys.executable, archive, tmp_path_factory.mktemp("staged") / "root")
    release: dict[int | None, str | None] = {None: None}
    for number in (1, 2, 3):
        restart = b"#!/bin/sh\necho %d >> ../../../../trace\ntest ! -e ../../../../broken\n" % number
        health = {"restart": {"command": ["./restart"], "timeout_s": 20}}
        release[number] = agent.place("meter", {"model": b"%d" % number, "hooks/restart": restart}, health=health)
    return App(agent.root, release)


@pytest.fixture
def app(staged: App, tmp_path: Path) -> App:
    shutil.copytree(staged.root, tmp_path / "root")
    return App(tmp_path / "root", staged.release)


ONE_RUNS: list[tuple[Any, ...]] = [("committed", 1, None)]
TWO_RUNS: list[tuple[Any, ...]] = [("committed", 1, None), ("committed", 2, 1)]
# Two ran after one; three is being deployed.
INTENT = [*TWO_RUNS, ("intent", 3, 2, 1)]
SWAPPED = [*INTENT, ("link", "current", 3)]
LINKED = [*SWAPPED, ("link", "previous", 2)]
ACTIVATED = [*LINKED, ("activated", 3, 2, 1)]
PROVEN = [*ACTIVATED, ("note", "proven", 3, 2)]
GOING = [*ACTIVATED, ("back", 2, 1)]
WENT = [*GOING, ("link", "current", 2)]
WENT_LINKED = [*WENT, ("link", "previous", 1)]

# What was done when the power went -> the state that status tells, then what settling makes of it: state, current, previous, restarts.
TABLE: dict[str, tuple[list[tuple[Any, ...]], str, tuple[Any, ...]]] = {
    "nothing": ([], "none", ("none", None, None, [])),
    "committed": (TWO_RUNS, "committed", ("committed", 2, 1, [])),
    "first: intent written": ([("intent", 1, None)], "none", ("none", None, None, [])),
    "first: swapped": ([("intent", 1, None), ("link", "current", 1)], "activated", ("rolled-back", None, None, [])),
    "second: intent written": ([*ONE_RUNS, ("intent", 2, 1)], "committed", ("committed", 1, None, [])),
    "second: swapped": ([*ONE_RUNS, ("intent", 2, 1), ("link", "current", 2)], "activated", ("rolled-back", 1, None, ["1"])),
    "intent written": (INTENT, "committed", ("committed", 2, 1, [])),
    "swapped": (SWAPPED, "activated", ("rolled-back", 2, 1, ["2"])),
    "previous set": (LINKED, "activated", ("rolled-back", 2, 1, ["2"])),
    "activated": (ACTIVATED, "activated", ("rolled-back", 2, 1, ["2"])),
    "proven": ([*ACTIVATED, ("note", "proven", 3, 2)], "proven", ("committed", 3, 2, [])),
    "going back: intent written": (GOING, "activated", ("rolled-back", 2, 1, ["2"])),
    "going back: swapped": (WENT, "going-back", ("rolled-back", 2, 1, ["2"])),
    "going back: previous set": (WENT_LINKED, "going-back", ("rolled-back", 2, 1, ["2"])),
    "rolled back": ([*WENT_LINKED, ("note", "rolled-back", 2, 1)], "rolled-back", ("rolled-back", 2, 1, [])),
    "inconsistent": ([*ACTIVATED, ("note", "inconsistent", 3)], "inconsistent", ("inconsistent", 3, 2, [])),
    "a release restored after the damaged one": (
        [("committed", 2, 1), ("intent", 3, 1, 1), ("link", "current", 3)],
        "activated",
        ("rolled-back", 1, None, ["1"]),
    ),
    "the edgekit before: activated": ([("link", "current", 1), ("legacy", "activated", 1)], "committed", ("committed", 1, None, [])),
    "the edgekit before: swapped": (
        [("link", "current", 1), ("legacy", "activated", 1), ("legacy", "switching", 2, 1), ("link", "current", 2)],
        "committed",
        ("committed", 2, 1, []),
    ),
    "the edgekit before: rolled back": (
        [("link", "current", 1), ("legacy", "rolled-back", 1, 2)],
        "rolled-back",
        ("rolled-back", 1, None, []),
    ),
    "links changed by hand": ([*TWO_RUNS, ("link", "current", 3)], "unknown", ("unknown", 3, 1, [])),
    "links changed by hand while unproven": ([*ACTIVATED, ("link", "current", 1)], "unknown", ("unknown", 1, 2, [])),
    "links taken away": ([*TWO_RUNS, ("link", "current", None)], "unknown", ("unknown", None, 1, [])),
}


@pytest.mark.parametrize("case", TABLE)
def test_settling(app: App, case: str) -> None:
    steps, told, settled = TABLE[case]
    app.do(steps)
    assert len(journal.entries(app.root, "meter")) == len([step for step in steps if step[0] != "link"]), "every line was understood"
    assert app.stands()[0] == told
    assert recover.settle({"app": None}, app.root, quiet) == {
        "apps": {"meter": settled[0]},
        "current": {"meter": app.release[settled[1]]},
    }
    assert app.stands() == settled
    recover.settle({"app": "meter"}, app.root, quiet)
    assert app.stands() == settled, "settled is settled"
    current = releases.read_link(app.root, "meter", "current")
    assert current is None or store.whole(app.root, "meter", current, digests=True) is None


@pytest.mark.parametrize("case", ["swapped", "activated", "going back: swapped"])
def test_what_somebody_looks_after_is_left_to_whoever_does(app: App, case: str) -> None:
    app.do(TABLE[case][0])
    before = app.stands()
    guard = disk.claim(journal.app_path(app.root, "meter", releases.WATCH))
    assert guard is not None
    try:
        recover.settle({"app": "meter"}, app.root, quiet)
        assert app.stands() == before
    finally:
        os.close(guard)


def damage(app: App, number: int) -> None:
    (Path(store.release_path(app.root, "meter", str(app.release[number]))) / "model").unlink()


def break_restart(app: App, number: int) -> None:
    Path(app.root, "broken").touch()


@pytest.mark.parametrize(("harm", "current"), [(damage, 3), (break_restart, 2)])
def test_going_back_that_cannot_be_done_is_inconsistent(app: App, harm: Callable[[App, int], None], current: int) -> None:
    app.do(ACTIVATED)
    harm(app, 2)
    with pytest.raises(AgentError) as caught:
        recover.settle({"app": None}, app.root, quiet)
    assert caught.value.kind == "inconsistent"
    assert app.stands()[:2] == ("inconsistent", current)
    assert recover.settle({"app": None}, app.root, quiet)["apps"] == {"meter": "inconsistent"}, "it is told once, and stays written down"


def test_one_application_does_not_keep_another_from_being_settled(app: App) -> None:
    app.do(ACTIVATED)
    damage(app, 2)
    release = app.release[1]
    shutil.copytree(Path(app.root, "apps", "meter", "releases"), Path(app.root, "apps", "zebra", "releases"))
    with disk.locked(app.root):
        journal.note(app.root, "zebra", "switching", release, becomes="activated", deployment=D, deadline=1.0)
        releases._link(app.root, "zebra", "current", release)
    with pytest.raises(AgentError):
        recover.settle({"app": None}, app.root, quiet)
    assert releases.standing(app.root, "zebra").state == "rolled-back"
