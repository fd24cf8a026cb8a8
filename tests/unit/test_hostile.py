"""A few hundred hostile cases for each surface, and the guard that tells what they must not do; all of them: ``python -m tests.fuzz``."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.ondevice.agent import JOBS
from tests.fuzz import answers, board, guard
from tests.fuzz.guard import Breach, watched
from tests.fuzz.surface import attack
from tests.fuzz.surfaces import SURFACES

CASES_OF_A_SHARE = 15


@pytest.mark.parametrize("name", SURFACES)
def test_hostile_cases_are_refused_in_words(name: str) -> None:
    cases = CASES_OF_A_SHARE * SURFACES[name].share
    assert attack(SURFACES[name], cases, seed=1).cases >= cases


def test_nothing_is_left_out() -> None:
    parsers = {"job", "event", "answer", "manifest", "archive", "statement", "container", "trials", "disk", "jobs"}
    assert parsers <= set(SURFACES)
    assert set(board.DISK) >= {"apps/meter/journal", "lease.json", "trust/policy.json", f"chunks/{board.BLOB}"}
    assert sorted([*board.JOBS, *board.ELSEWHERE]) == sorted(JOBS)


def test_an_honest_job_is_done(tmp_path: Path) -> None:
    """The hostile jobs are near ones that work: else they would all be refused at the door."""
    for name in (
        "deploy.activate",
        "deploy.settle",
        "lease.show",
        "store.rollback",
        "store.stage",
        "store.status",
        "transfer.offer",
        "transfer.take",
    ):
        fields = {key: value for key, value in board.JOBS[name].items() if key not in ("statement", "signature")}
        board.run_jobs(([(name, fields)], board.STREAM), tmp_path)


@pytest.mark.parametrize("name", answers.ANSWERS)
def test_an_honest_answer_is_taken(name: str, tmp_path: Path) -> None:
    answers.convert((name, answers.ANSWERS[name][0]), tmp_path)


BREACHES: dict[str, Callable[[Path], object]] = {
    "file": lambda beside: beside.write_bytes(b""),
    "descriptor": lambda beside: os.close(os.open(beside, os.O_CREAT | os.O_WRONLY)),
    "folder": lambda beside: beside.mkdir(),
    "link": lambda beside: beside.symlink_to("/etc"),
    "rename": lambda beside: (beside.parent / "inside" / "file").rename(beside),
    "climbing": lambda beside: (beside.parent / "inside" / ".." / beside.name).write_bytes(b""),
    "through a link": lambda beside: (beside.parent / "inside" / "out" / beside.name).write_bytes(b""),
    "unlink": lambda beside: (beside.parent / "kept").unlink(),
    "chmod": lambda beside: (beside.parent / "kept").chmod(0o777),
    "descriptor's mode": lambda beside: os.fchmod(os.open(beside.parent / "kept", os.O_RDONLY), 0o777),
    "below a descriptor": lambda beside: os.mkdir(beside.name, dir_fd=os.open(beside.parent, os.O_RDONLY | os.O_CLOEXEC)),
    "program": lambda beside: subprocess.run(["true"]),
    "signal": lambda beside: os.kill(os.getpid(), 0),
}


@pytest.mark.parametrize("name", BREACHES)
def test_the_guard_sees_a_breach(name: str, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "file").write_bytes(b"")
    (inside / "out").symlink_to(tmp_path)
    (tmp_path / "kept").write_bytes(b"")
    before = guard.snapshot(tmp_path, inside)
    with pytest.raises(Breach), watched(inside):
        with pytest.raises(PermissionError):
            BREACHES[name](tmp_path / "beside")
    assert guard.snapshot(tmp_path, inside) == before


def test_the_guard_ends_what_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CASE_TIMEOUT_S", 0.05)
    left, right = socket.socketpair()
    with left, right, pytest.raises(Breach, match="longer than"), watched(tmp_path):
        left.recv(1)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_the_guard_lets_work_go_on(tmp_path: Path) -> None:
    with watched(tmp_path, frozenset({"true"})):
        (tmp_path / "file").write_bytes(b"x")
        (tmp_path / "file").rename(tmp_path / "other")
        (tmp_path / "other").unlink()
        subprocess.run(["true"], check=True)
        assert time.time() > 0
