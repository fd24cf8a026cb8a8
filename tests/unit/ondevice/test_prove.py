"""Health decides: a release proves itself where it is to stay, or the board goes back to what ran before."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice import journal, wire

from .conftest import Agent

pytest.importorskip("numpy")

from .proving import Board  # needs numpy


@pytest.fixture
def board(agent: Agent, tmp_path: Path) -> Board:
    return Board(agent, tmp_path)


def test_a_good_release_goes_all_the_way_and_every_step_may_be_repeated(board: Board) -> None:
    release = board.stage(1, latency_p99_ms=1e6)
    for _ in range(2):
        assert board.activate(release) == {"app": "meter", "release": release, "previous": None, "changed": True}
    assert (board.status()["state"], board.status()["whole"]) == ("activated", True)
    proofs = [board.agent.ask("deploy.prove", **board.fields(release), threads=1)["proof"] for _ in range(2)]
    assert proofs[0] == proofs[1]
    assert proofs[0]["golden"] == {"ok": True, "count": 1, "max_diff": 0.0, "tolerance": 2.0}
    assert 0 < proofs[0]["latency_p99_ms"] < 1e6
    for _ in range(2):
        assert board.agent.ask("deploy.commit", **board.fields(release), keep=2)["pruned"] == []
    assert board.status()["state"] == "committed"
    assert board.hooks() == ["restart 1", "check 1"]
    events = [entry["event"] for entry in journal.entries(str(board.agent.root), "meter")]
    assert events == ["switching", "activated", "proven", "committed"]


@pytest.mark.parametrize(
    ("number", "more", "words"),
    [
        (2, {"answer": 9}, ["the golden samples differ by 7.0 steps, 2 are allowed"]),
        (254, {"answer": 0}, ["golden: it ended with status -6"]),
        (2, {"latency_p99_ms": 1e-6}, ["99 of 100 runs took up to", "1e-06 are allowed"]),
        (2, {"check": "echo still starting; sleep 60", "timeout_s": 0.3}, ["check (hooks/check) did not end within 0.3 s: still starting"]),
    ],
    ids=["golden", "abort", "latency", "hangs"],
)
def test_what_does_not_prove_itself_is_taken_back(board: Board, number: int, more: dict[str, Any], words: list[str]) -> None:
    good = board.stage(1)
    board.agent.make_current("meter", good)
    bad = board.stage(number, **more)
    refused = board.refused(bad)
    assert refused["kind"] == "undone"
    for word in [*words, "was taken back", f"{good[:12]} runs again"]:
        assert word in refused["message"]
    assert board.links() == (good, None)
    app = board.status()
    assert (app["state"], app["current"], app["by"]) == ("rolled-back", good, "proof")
    assert words[0] in app["why"]
    assert board.hooks()[-1] == "restart 1"
    again = board.agent.refuse("deploy.prove", **board.fields(bad), threads=1)
    assert (again["kind"], board.agent.refuse("deploy.activate", **board.fields(bad))["kind"]) == ("undone", "undone")


def test_a_first_release_that_fails_leaves_nothing_current(board: Board) -> None:
    release = board.stage(1, check="exit 1")
    refused = board.refused(release)
    assert (refused["kind"], "nothing runs, as before" in refused["message"]) == ("undone", True)
    assert board.links() == (None, None)
    assert (board.status()["state"], board.status()["current"]) == ("rolled-back", None)
    board.deploy(board.stage(2), "e" * 16)
    assert board.status()["state"] == "committed"


def test_the_same_release_again_is_proved_and_nothing_is_switched(board: Board) -> None:
    release = board.stage(1)
    board.deploy(release, "a" * 16)
    assert board.activate(release, "b" * 16)["changed"] is False
    board.agent.ask("deploy.prove", **board.fields(release, "b" * 16), threads=1)
    board.agent.ask("deploy.commit", **board.fields(release, "b" * 16), keep=3)
    assert board.hooks() == ["restart 1", "check 1", "check 1"]
    assert board.status()["state"] == "committed"


def test_a_second_host_waits_its_turn(board: Board) -> None:
    one, two = board.stage(1), board.stage(2)
    board.activate(one, "a" * 16)
    busy = board.agent.refuse("deploy.activate", **board.fields(two, "b" * 16))
    assert (busy["kind"], "another deployment of meter is being decided" in busy["message"]) == ("busy", True)
    assert board.agent.refuse("deploy.prove", **board.fields(one, "b" * 16), threads=1)["kind"] == "state"
    assert board.agent.refuse("deploy.commit", **board.fields(one, "a" * 16), keep=3)["kind"] == "state"
    back = board.agent.ask("store.rollback", app="meter", deployment="b" * 16)
    assert (back["changed"], board.status()["state"]) == (False, "activated")
    back = board.agent.ask("store.rollback", app="meter", deployment="a" * 16)
    assert (back["changed"], back["release"], board.status()["state"]) == (True, None, "rolled-back")
    board.deploy(two, "c" * 16)
    assert board.status()["current"] == two


def test_nothing_is_proven_that_was_taken_back_meanwhile(board: Board) -> None:
    good = board.stage(1)
    board.agent.make_current("meter", good)
    slow = board.stage(2, check="touch %s; sleep 2" % (board.folder / "checking"))
    board.activate(slow)
    line = wire.encode_job("deploy.prove", str(board.agent.root), {**board.fields(slow), "threads": 1})
    with subprocess.Popen(board.agent.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as proving:
        assert proving.stdin
        assert proving.stdout
        proving.stdin.write(line)
        proving.stdin.flush()
        while not (board.folder / "checking").exists():
            assert proving.poll() is None
            time.sleep(0.02)
        board.agent.ask("store.rollback", app="meter")
        last = wire.decode_event(proving.stdout.read().splitlines()[-1])
    assert (last["event"], last["kind"]) == ("error", "undone")
    assert "an operator asked for it" in last["message"]
    assert (board.status()["current"], board.status()["state"], board.status()["by"]) == (good, "rolled-back", "operator")


def test_going_back_that_fails_is_inconsistent_until_a_rollback_or_a_deployment(board: Board) -> None:
    good = board.stage(1, restart="test -e %s" % (board.folder / "mended"))
    (board.folder / "mended").touch()
    board.deploy(good, "a" * 16)
    (board.folder / "mended").unlink()
    bad = board.stage(2, check="exit 1")
    refused = board.refused(bad, "b" * 16)
    assert (refused["kind"], "after going back restart (hooks/restart) ended with status 1" in refused["message"]) == ("inconsistent", True)
    assert board.links() == (good, None)
    assert board.status()["state"] == "inconsistent"
    assert "edgekit rollback" in board.status()["next"]
    assert board.agent.refuse("deploy.prove", **board.fields(bad, "b" * 16))["kind"] == "inconsistent"
    assert board.agent.refuse("store.rollback", app="meter")["kind"] == "inconsistent"
    (board.folder / "mended").touch()
    assert board.agent.ask("store.rollback", app="meter")["release"] == good
    assert (board.status()["state"], board.status()["by"]) == ("rolled-back", "operator")


def test_a_damaged_release_to_go_back_to_is_inconsistent(board: Board) -> None:
    good, bad, other = board.stage(1), board.stage(2, check="exit 1"), board.stage(3)
    board.deploy(good, "a" * 16)
    board.activate(bad, "b" * 16)
    model = board.agent.root / "apps" / "meter" / "releases" / good / "model.tflite"
    model.unlink()
    refused = board.agent.refuse("deploy.prove", **board.fields(bad, "b" * 16), threads=1)
    assert (refused["kind"], "model.tflite is missing" in refused["message"]) == ("inconsistent", True)
    assert (board.status()["current"], board.status()["state"]) == (bad, "inconsistent")
    assert "model.tflite is missing" in board.agent.refuse("store.rollback", app="meter")["message"]
    board.deploy(other, "c" * 16)
    assert (board.status()["current"], board.status()["state"]) == (other, "committed")
    shutil.rmtree(model.parent)
