"""The journal: durable lines, bounded, read as if an enemy had written them."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.ondevice import journal, releases
from edgekit.ondevice.wire import AgentError

ONE, TWO = "1" * 64, "2" * 64


def write(root: Path, data: bytes) -> str:
    folder = root / "apps" / "meter"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "journal").write_bytes(data)
    return str(root)


def test_what_was_noted_is_read(tmp_path: Path) -> None:
    root = str(tmp_path)
    journal.note(root, "meter", "switching", ONE, None, becomes="activated", deployment="d" * 16, deadline=12.5, why="x" * 5000)
    journal.note(root, "meter", "proven", ONE, None, deployment="d" * 16, proof={"golden": {"ok": True}})
    first, second = journal.entries(root, "meter")
    assert (first["event"], first["release"], first["previous"], first["deadline"]) == ("switching", ONE, None, 12.5)
    assert len(first["why"]) == 1000
    assert second["proof"] == {"golden": {"ok": True}}
    assert (tmp_path / "apps" / "meter" / "journal").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("fields", [{"event": "won"}, {"release": "x"}, {"deployment": "D" * 16}, {"proof": {"x": "y" * 5000}}])
def test_what_would_not_be_read_is_not_written(tmp_path: Path, fields: dict[str, Any]) -> None:
    entry = {"event": "proven", "release": ONE, **fields}
    with pytest.raises(AgentError):
        journal.note(str(tmp_path), "meter", entry.pop("event"), entry.pop("release"), **entry)
    assert journal.entries(str(tmp_path), "meter") == []


WRONG: list[dict[str, Any]] = [
    {"event": "won"},
    {"event": ["committed"]},
    {"event": "switching"},
    {"event": "switching", "becomes": "committed"},
    {"release": "../../etc"},
    {"release": 7},
    {"previous": {}},
    {"earlier": "x"},
    {"wanted": []},
    {"deployment": "d" * 15},
    {"deployment": 0},
    {"deadline": "soon"},
    {"deadline": -1},
    {"deadline": True},
    {"deadline": 1e300},
    {"why": 7},
    {"proof": []},
]
GOOD = {"time": "2026-01-01T00:00:00Z", "event": "committed", "release": ONE, "previous": None, "deployment": "d" * 16, "by": "host"}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 2_000,
        b"\xff\xfe",
        json.dumps({**GOOD, "why": "x" * 10_000}).encode(),
        *(json.dumps({**GOOD, **wrong}).encode() for wrong in WRONG),
        b'{"event":"committed"}',
        b'{"event":"committed","event":"proven","release":"' + ONE.encode() + b'"}',
        json.dumps(GOOD).encode().replace(b"null", b"NaN"),
    ],
)
def test_a_line_of_somebody_else_is_passed_over(tmp_path: Path, line: bytes) -> None:
    root = write(tmp_path, b"\n" + json.dumps(GOOD).encode() + b"\n" + line + b"\n" + json.dumps({**GOOD, "release": TWO}).encode())
    assert [entry["release"] for entry in journal.entries(root, "meter")] == [ONE, TWO]


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_whatever_stands_there_the_state_is_told(tmp_path: Path, data: bytes) -> None:
    root = write(tmp_path, data)
    assert releases.standing(root, "meter").state == "none"


def test_a_link_or_a_pipe_is_no_journal(tmp_path: Path) -> None:
    root = write(tmp_path, b"")
    path = tmp_path / "apps" / "meter" / "journal"
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="journal"):
        journal.note(root, "meter", "committed", ONE)
    path.unlink()
    os.mkfifo(path)
    assert journal.entries(root, "meter") == []


def test_it_stays_small_and_keeps_what_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # a thousand times over
    root = str(tmp_path)
    journal.note(root, "meter", "committed", ONE, None, deployment="d" * 16, by="host")
    for _ in range(1500):
        journal.note(root, "meter", "staged", TWO, None, deployment="e" * 16, why="x" * 300)
    assert (tmp_path / "apps" / "meter" / "journal").stat().st_size <= journal.COMPACT_BYTES + journal.LINE_MAX_BYTES
    found = journal.entries(root, "meter")
    assert found[0]["event"] == "committed"
    assert journal.KEPT_STEPS <= len(found) < 1000
    assert sorted(path.name for path in (tmp_path / "apps" / "meter").iterdir()) == ["journal"]


def test_a_full_disk_does_not_keep_a_board_from_going_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path, b"")
    journal.reserve(root, "meter")
    reserve = tmp_path / "apps" / "meter" / ".reserve"
    assert reserve.stat().st_blocks * 512 >= journal.RESERVE_BYTES
    real = os.fsync

    def full(handle: int) -> None:
        if reserve.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    journal.note(root, "meter", "rolled-back", ONE, None, by="watchdog")
    assert not reserve.exists()
    assert journal.entries(root, "meter")[-1]["event"] == "rolled-back"
