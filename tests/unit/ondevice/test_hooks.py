"""Commands of a release on the board: bounded, killed as a group, and nothing but what its manifest lists."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice import hooks
from edgekit.ondevice.disk import claim
from edgekit.ondevice.store import release_path
from edgekit.ondevice.wire import AgentError

from .conftest import Agent


def quiet(stage: str, done: int, total: int) -> None:
    pass


def place(root: Path, script: str) -> str:
    """Make a release folder with one program."""
    program = Path(release_path(str(root), "meter", "0" * 64)) / "hooks" / "check"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o555)
    return str(root)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 0", None),
        ('test "$(basename "$PWD")" = ' + "0" * 64, None),
        ("echo no such unit >&2; exit 5", "check (hooks/check) ended with status 5: no such unit"),
        ("kill -9 $$", "check (hooks/check) was killed by signal 9"),
        ("seq 1 100000; exit 1", "check (hooks/check) ended with status 1: 99998 | 99999 | 100000"),
        ("sleep 60 & echo started", None),
    ],
    ids=["good", "folder", "status", "killed", "loud", "leaves-one-running"],
)
def test_how_a_hook_ends(tmp_path: Path, script: str, said: str | None) -> None:
    root = place(tmp_path, script)
    assert hooks.run(root, "meter", "0" * 64, hooks.Hook(["hooks/check"], 20.0), "check", 60.0, quiet) == said


def test_one_that_does_not_end_is_killed_with_all_it_started(tmp_path: Path) -> None:
    root = place(tmp_path, f"(sleep 1; touch {tmp_path}/late) & echo waiting; wait")
    said = hooks.run(root, "meter", "0" * 64, hooks.Hook(["hooks/check"], 20.0), "check", 0.3, quiet)
    assert said == "check (hooks/check) did not end within 0.3 s: waiting"
    time.sleep(1.2)
    assert not (tmp_path / "late").exists()


def test_one_at_a_time(tmp_path: Path) -> None:
    root = place(tmp_path, "exit 0")
    lock = claim(str(tmp_path / "apps" / "meter" / ".hook"))
    assert lock is not None
    said = hooks.run(root, "meter", "0" * 64, hooks.Hook(["hooks/check"], 0.2), "check", 60.0, quiet)
    assert said == "check (hooks/check) found another hook of the application still at work after 0.2 s"


ORPHAN = """
import sys
from edgekit.ondevice import hooks
hooks.run(sys.argv[1], "meter", "0" * 64, hooks.Hook(["hooks/check"], 60.0), "check", 60.0, lambda *_: None)
"""


def test_a_hook_whose_agent_was_killed_does_not_undo_what_the_next_one_does(tmp_path: Path) -> None:
    root = place(tmp_path, f"test -e {tmp_path}/begun && exit 0; touch {tmp_path}/begun; sleep 2; touch {tmp_path}/late")
    agent = subprocess.Popen([sys.executable, "-c", ORPHAN, root])
    while not (tmp_path / "begun").exists():
        assert agent.poll() is None
        time.sleep(0.02)
    agent.kill()
    agent.wait()
    assert hooks.run(root, "meter", "0" * 64, hooks.Hook(["hooks/check"], 20.0), "check", 60.0, quiet) is None
    time.sleep(2.2)
    assert not (tmp_path / "late").exists()


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    root = place(tmp_path, "exit 0")
    said = hooks.run(root, "meter", "0" * 64, hooks.Hook(["/nowhere/program"], 20.0), "restart", 60.0, quiet)
    assert said is not None
    assert said.startswith("restart (/nowhere/program) cannot be run: ")


@pytest.mark.parametrize(
    "health",
    [
        [],
        {"check": "true"},
        {"check": {"command": []}},
        {"check": {"command": "true"}},
        {"check": {"command": ["true", 1]}},
        {"check": {"command": ["a\0b"]}},
        {"check": {"command": ["x"] * 65}},
        {"check": {"command": ["./../check"]}},
        {"check": {"command": ["./other"]}},
        {"check": {"command": ["true"], "timeout_s": -1}},
        {"check": {"command": ["true"], "timeout_s": "1"}},
        {"latency_p99_ms": "1"},
    ],
)
def test_a_manifest_that_asks_for_something_else(agent: Agent, health: Any) -> None:
    release = agent.deploy("meter", {"hooks/check": b"#!/bin/sh\n"}, health=health)
    with pytest.raises(AgentError) as caught:
        hooks.health_of(str(agent.root), "meter", release)
    assert caught.value.kind in ("input", "usage")


def test_a_program_of_the_bundle_can_be_run(agent: Agent) -> None:
    release = agent.deploy("meter", {"hooks/check": b"#!/bin/sh\nexit 7\n"}, health={"check": {"command": ["./check"], "timeout_s": 9}})
    health = hooks.health_of(str(agent.root), "meter", release)
    assert (health.restart, health.check) == (None, hooks.Hook(["hooks/check"], 9.0))
    assert hooks.run(str(agent.root), "meter", release, hooks.Hook(["hooks/check"], 9.0), "check", 9.0, quiet) == (
        "check (hooks/check) ended with status 7"
    )
