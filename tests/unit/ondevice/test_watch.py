"""The watchdog outlives whoever started it, and goes back when nobody has proved the release in time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

import pytest

from edgekit.ondevice import boot, journal, wire

from .conftest import Agent

pytest.importorskip("numpy")

from .proving import Board  # needs numpy

# A double of systemd's program: it writes down what it was asked, and starts the command as the user's manager would.
SYSTEMD_RUN = """#!%s
import json, subprocess, sys
with open(%r, "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if %d:
    sys.exit("Failed to connect to bus")
options = [word for word in sys.argv[1:] if word.startswith("--")]
(job,) = [word.partition("=file:")[2] for word in options if word.startswith("--property=StandardInput=")]
subprocess.Popen(sys.argv[1 + len(options):], stdin=open(job), stdout=subprocess.DEVNULL, start_new_session=True)
"""


@pytest.fixture
def board(agent: Agent, tmp_path: Path) -> Board:
    return Board(agent, tmp_path)


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def watchers(board: Board) -> list[int]:
    """Return the processes that hold the application's watch."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            files = [os.readlink(path) for path in (folder / "fd").iterdir()]
        except OSError:  # it has just ended
            continue
        if str(board.agent.root / "apps" / "meter" / ".watch") in files:
            found.append(int(folder.name))
    return found


def test_nobody_proves_it_in_time(board: Board) -> None:
    good, new = board.stage(1), board.stage(2)
    board.agent.make_current("meter", good)
    board.activate(new, deadline_s=2.0)
    assert f"goes back to {good[:12]} unless it is proven" in board.status()["next"]
    (process,) = watchers(board)
    assert os.getsid(process) == process, "no end of a link reaches it"
    until(lambda: board.status()["state"] == "rolled-back", "the watchdog goes back")
    assert board.links() == (good, None)
    assert (board.status()["by"], board.status()["why"]) == ("watchdog", "it was not proven in time")
    assert board.hooks() == ["restart 1"]
    until(lambda: not watchers(board), "the watchdog ends")


def test_a_killed_watchdog_is_told_and_the_next_start_goes_back(board: Board) -> None:
    good, new = board.stage(1), board.stage(2)
    board.agent.make_current("meter", good)
    board.activate(new)
    for process in watchers(board):
        os.kill(process, signal.SIGKILL)
    until(lambda: "nobody watches it" in (board.status()["next"] or ""), "status tells")
    assert board.status()["state"] == "activated"
    script = board.agent.root / boot.SCRIPT
    assert os.access(script, os.X_OK)
    said = subprocess.run([str(script)], stdout=subprocess.PIPE, timeout=60)
    assert wire.decode_event(said.stdout.splitlines()[-1])["data"]["apps"] == {"meter": "rolled-back"}
    assert board.links() == (good, None)
    assert board.hooks() == ["restart 1"]


def test_a_decided_deployment_needs_no_watchdog(board: Board) -> None:
    board.deploy(board.stage(1), "a" * 16)
    until(lambda: not watchers(board), "the watchdog ends")


def standin(folder: Path, monkeypatch: pytest.MonkeyPatch, fails: bool) -> Path:
    program, told = folder / "bin" / "systemd-run", folder / "asked"
    program.parent.mkdir()
    program.write_text(SYSTEMD_RUN % (sys.executable, str(told), fails))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return told


@pytest.mark.parametrize("fails", [False, True])
def test_the_users_manager_runs_it_where_there_is_one(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    told = standin(tmp_path, monkeypatch, fails)
    board.activate(board.stage(1), deadline_s=2.0)
    (asked,) = map(json.loads, told.read_text().splitlines())
    assert asked[:4] == ["--user", "--collect", "--quiet", "--unit=edgekit-watch-meter-" + "d" * 16]
    assert asked[-2:] == board.agent.command
    assert len(watchers(board)) == 1
    assert (board.agent.root / "apps" / "meter" / "watch.log").exists() is fails
    until(lambda: board.status()["state"] == "rolled-back", "it goes back all the same")


def test_a_watchdog_without_a_switch_ends(board: Board) -> None:
    """As when whoever started it died before the switch."""
    board.stage(1)
    request = wire.encode_job("deploy.watch", str(board.agent.root), {"app": "meter", "deployment": "d" * 16, "deadline": 1e9})
    done = subprocess.run(board.agent.command, input=request, stdout=subprocess.PIPE, timeout=60)
    assert wire.decode_event(done.stdout.splitlines()[-1])["data"] == {"app": "meter", "state": "none"}
    assert [entry["event"] for entry in journal.entries(str(board.agent.root), "meter")] == []
