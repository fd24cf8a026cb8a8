"""A trial that is over: both links are what they were, what came goes, and asked again nothing is left to do."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice import disk, releases
from edgekit.ondevice.restore import restore
from edgekit.ondevice.wire import AgentError

from .conftest import Agent
from .test_recover import ACTIVATED, GOING, LINKED, PROVEN, SWAPPED, TWO_RUNS, WENT, App, quiet, staged

__all__ = ["staged"]

T = "e" * 16
# Two runs, one is previous; three was on trial. What the trial left -> the restarts that putting back takes.
LEFT: dict[str, tuple[list[tuple[Any, ...]], list[str]]] = {
    "nothing": (TWO_RUNS, []),
    "swapped": (SWAPPED, ["2"]),
    "previous set": (LINKED, ["2"]),
    "activated": (ACTIVATED, ["2"]),
    "proven": (PROVEN, ["2"]),
    "committed": ([*PROVEN, ("committed", 3, 2)], ["2"]),
    "going back": (GOING, ["2"]),
    "gone back": (WENT, ["2"]),
    "gone back, by hand": ([*PROVEN, ("committed", 3, 2), ("committed", 2, 3)], []),
}


@pytest.fixture
def app(staged: App, tmp_path: Path) -> App:
    shutil.copytree(staged.root, tmp_path / "root")
    return App(tmp_path / "root", staged.release)


def put_back(app: App, current: int | None, previous: int | None, tried: int | None = 3) -> dict[str, Any]:
    wanted = {"current": app.release[current], "previous": app.release[previous], "tried": app.release[tried]}
    return restore({"app": "meter", "deployment": T, **wanted}, app.root, quiet)


def folder(app: App, number: int) -> Path:
    return Path(app.root) / "apps" / "meter" / "releases" / str(app.release[number])


def there(app: App, number: int) -> bool:
    return folder(app, number).is_dir()


@pytest.mark.parametrize("case", LEFT)
def test_the_board_is_as_it_was(app: App, case: str) -> None:
    steps, restarts = LEFT[case]
    app.do(steps)
    answer = put_back(app, 2, 1)
    assert (answer["release"], answer["previous"], answer["dropped"]) == (app.release[2], app.release[1], True)
    assert app.stands()[1:] == (2, 1, restarts)
    assert [there(app, number) for number in (1, 2, 3)] == [True, True, False]
    again = put_back(app, 2, 1)
    assert (again["release"], again["dropped"], app.stands()[3]) == (app.release[2], False, restarts), "asked again, nothing is left to do"


def test_nothing_ran_before(app: App) -> None:
    app.do([("committed", 3, None)])
    put_back(app, None, None)
    assert app.stands() == ("rolled-back", None, None, [])
    assert not os.path.lexists(app.root + "/apps/meter/current")
    assert not there(app, 3)


def test_there_was_no_previous(app: App) -> None:
    app.do([("committed", 1, None), ("committed", 3, 1)])
    put_back(app, 1, None, tried=None)
    assert app.stands() == ("rolled-back", 1, None, ["1"])
    assert there(app, 3), "it had been there before"


def test_what_runs_again_must_be_whole(app: App) -> None:
    app.do([*PROVEN, ("committed", 3, 2)])
    model = folder(app, 2) / "model"
    model.chmod(0o600)
    model.write_bytes(b"x")
    with pytest.raises(AgentError, match="cannot go back to release") as caught:
        put_back(app, 2, 1)
    assert caught.value.kind == "inconsistent"
    assert app.stands()[1] == 3


def test_a_restart_that_fails_is_told(app: App) -> None:
    app.do([*PROVEN, ("committed", 3, 2)])
    (Path(app.root) / "broken").touch()
    with pytest.raises(AgentError, match="after going back") as caught:
        put_back(app, 2, 1)
    assert caught.value.kind == "inconsistent"
    assert app.stands()[:2] == ("inconsistent", 2)


def test_a_release_in_use_stays(app: App) -> None:
    app.do([*PROVEN, ("committed", 3, 2)])
    handle = disk.hold(str(folder(app, 3)))
    try:
        assert put_back(app, 2, 1)["dropped"] is False
    finally:
        os.close(handle)
    assert there(app, 3)
    assert releases.standing(app.root, "meter").current == app.release[2]


def test_over_the_wire(archive: Path, tmp_path: Path) -> None:
    agent = Agent(sys.executable, archive, tmp_path / "root")
    first, second = (agent.deploy("meter", {"model": data}) for data in (b"1", b"2"))
    agent.make_current("meter", first)
    agent.make_current("meter", second)
    fields = {"app": "meter", "deployment": T, "current": first, "previous": None, "tried": second}
    assert agent.ask("store.restore", **fields) == {"app": "meter", "release": first, "previous": None, "dropped": True}
    assert agent.refuse("store.restore", **{**fields, "current": "x"})["kind"] == "usage"
