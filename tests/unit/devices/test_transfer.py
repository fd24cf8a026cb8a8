"""Sending blobs to this machine: what travels, what is gone on with, what a board's answer may be."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.chunks import cut
from edgekit.device import Address, Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.devices.transfer import ask, check_room, send
from edgekit.errors import DeployError, DeviceError

DATA = np.random.default_rng(5).bytes(3_000_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
CHUNK_COUNT = 40
NOTHING = base64.b64encode(bytes((CHUNK_COUNT + 7) // 8)).decode()


@contextmanager
def board(root: Path, python: str | None = None) -> Iterator[AgentSession]:
    device = Device(name="bench", address=Address.parse("local"), root=str(root), python=python)
    with connect(device) as connection, AgentSession(connection, device) as session:
        yield session


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.write_bytes(DATA)
    return path


def stored(root: Path, digest: str = DIGEST) -> bytes:
    return (root / "blobs" / "sha256" / digest).read_bytes()


def test_once_and_never_again(tmp_path: Path, model: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    with board(tmp_path / "root") as session:
        sent = send(session, {DIGEST: model}, progress=lambda *step: seen.append(step))
        assert (sent.bytes_total, sent.bytes_needed) == (len(DATA), len(DATA))
        assert len(DATA) < sent.bytes_sent < len(DATA) + 1000
        assert seen[-1] == ("send", len(DATA), len(DATA))
        again = send(session, {DIGEST: model})
        assert (again.bytes_needed, again.bytes_sent) == (0, 0)
    assert stored(tmp_path / "root") == DATA


def test_what_was_asked_just_now_is_not_asked_again(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with board(tmp_path / "root") as session:
        lacking = ask(session, {DIGEST: model})
        jobs: list[str] = []
        job = session.job

        def counted(name: str, **fields: Any) -> dict[str, Any]:
            jobs.append(name)
            return job(name, **fields)

        monkeypatch.setattr(session, "job", counted)
        send(session, {DIGEST: model}, lacking=lacking)
        assert jobs == ["transfer.take"]
        stale = replace(lacking, gaps=tuple(replace(gap, start=1000) for gap in lacking.gaps))
        (tmp_path / "root" / "blobs" / "sha256" / DIGEST).unlink()
        send(session, {DIGEST: model}, lacking=stale)  # it is no longer so: the board refuses, and is asked
        assert jobs[1:] == ["transfer.take", "transfer.offer", "transfer.take"]
    assert stored(tmp_path / "root") == DATA


def test_of_a_changed_file_what_changed(tmp_path: Path, model: Path) -> None:
    changed = DATA[:1_000_000] + b"a layer more" * 10_000 + DATA[1_000_000:]
    digest = hashlib.sha256(changed).hexdigest()
    (tmp_path / "changed").write_bytes(changed)
    with board(tmp_path / "root") as session:
        send(session, {DIGEST: model})
        sent = send(session, {digest: tmp_path / "changed", DIGEST: model})
    assert 120_000 <= sent.bytes_needed < 120_000 + 300_000
    assert stored(tmp_path / "root", digest) == changed


@pytest.mark.parametrize(
    ("left", "gone_on"),
    [(DATA[:1_234_567], 1_234_567), (DATA[:1_200_000] + b"garbage", None), (b"garbage", 0), (DATA + b"more", 3_000_000), (DATA, 3_000_000)],
    ids=["prefix", "spoilt end", "garbage", "too long", "all of it"],
)
def test_it_goes_on_where_the_bytes_are_ours(tmp_path: Path, model: Path, left: bytes, gone_on: int | None) -> None:
    with board(tmp_path / "root") as session:
        (tmp_path / "root" / "incoming" / f"{DIGEST}.part").write_bytes(left)
        sent = send(session, {DIGEST: model})
    if gone_on is None:  # the last whole chunk that is sound
        ends = np.cumsum([chunk.size for chunk in cut(model, DIGEST)])
        gone_on = int(ends[ends <= 1_200_000][-1])
    assert sent.bytes_needed == len(DATA) - gone_on
    assert stored(tmp_path / "root") == DATA
    assert list((tmp_path / "root" / "incoming").iterdir()) == []


def test_a_source_that_turns_out_damaged_is_sent_again(tmp_path: Path, model: Path) -> None:
    digest = hashlib.sha256(DATA + b"more").hexdigest()
    (tmp_path / "longer").write_bytes(DATA + b"more")
    with board(tmp_path / "root") as session:
        send(session, {DIGEST: model})
        blob = tmp_path / "root" / "blobs" / "sha256" / DIGEST
        blob.chmod(0o644)
        blob.write_bytes(bytes(9) + DATA[9:])
        sent = send(session, {digest: tmp_path / "longer"})
    assert len(DATA) < sent.bytes_needed < 1.2 * len(DATA)
    assert stored(tmp_path / "root", digest) == DATA + b"more"
    assert not blob.exists()


def test_a_file_that_is_not_its_digest(tmp_path: Path, model: Path) -> None:
    with board(tmp_path / "root") as session, pytest.raises(DeployError, match="is something else"):
        send(session, {"0" * 64: model})
    assert not (tmp_path / "root" / "blobs" / "sha256" / ("0" * 64)).exists()


def _part(**fields: object) -> dict[str, object]:
    return {"sha256": DIGEST, "have_bytes": 0, "tail_bytes": 0, "tail_sha256": "", "needed": NOTHING, **fields}


def _offering(folder: Path, answer: object) -> Path:
    """Make a Python that is real for the start and gives this answer to every job."""
    fake = folder / "python"
    line = json.dumps({"event": "result", "data": answer})
    fake.write_text(f'#!/bin/sh\nif [ "$1" = -c ]; then exec {sys.executable} "$@"; fi\necho \'{line}\'\n')
    fake.chmod(0o755)
    return fake


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"missing": [], "free_bytes": -1, "links": True},
        {"missing": [_part(sha256="1" * 64)], "free_bytes": 1, "links": True},
        {"missing": [_part(have_bytes=-1)], "free_bytes": 1, "links": True},
        {"missing": [_part(have_bytes=3_000_001)], "free_bytes": 1, "links": True},
        {"missing": [_part(have_bytes=2_999_999, tail_bytes=2)], "free_bytes": 1, "links": True},
        {"missing": [_part(needed="!")], "free_bytes": 1, "links": True},
        {"missing": [_part(needed="")], "free_bytes": 1, "links": True},
        {"missing": [_part(needed=base64.b64encode(bytes(999)).decode())], "free_bytes": 1, "links": True},
    ],
    ids=range(9),
)
def test_answers_that_are_none(tmp_path: Path, model: Path, answer: object) -> None:
    python = _offering(tmp_path, answer)
    with board(tmp_path / "root", str(python)) as session, pytest.raises(DeviceError, match=r"transfer\.offer is malformed"):
        ask(session, {DIGEST: model})


@pytest.mark.parametrize("links", [True, False])
def test_room_for_the_new_beside_the_old(tmp_path: Path, model: Path, links: bool) -> None:
    assert (len(cut(model, DIGEST)) + 7) // 8 == (CHUNK_COUNT + 7) // 8
    answer = {"missing": [_part()], "free_bytes": 20 << 20, "links": links}
    python = _offering(tmp_path, answer)
    with board(tmp_path / "root", str(python)) as session:
        lacking = ask(session, {DIGEST: model})
        assert lacking.bytes_to_write == len(DATA) * (1 if links else 2)
        if links:
            check_room(session, lacking)
        else:
            with pytest.raises(DeployError, match=r"20 MiB free, 21 MiB needed \(5 MiB to write, 16 MiB beside it\); nothing was sent"):
                check_room(session, lacking)
