"""Blobs by chunks: what is asked for, what is taken, what a break leaves, and what nobody is believed."""

from __future__ import annotations

import base64
import hashlib
import os
import struct
import subprocess
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice import journal, stdin, wire
from edgekit.ondevice.chunks import CHUNKS_MAX, RECORD
from edgekit.ondevice.transfer import PACKED
from edgekit.ondevice.wire import AgentError

from .conftest import Agent, frame, listed

PIECES = [bytes([number]) * 5000 + os.urandom(3000) for number in range(6)]
DATA = b"".join(PIECES)
DIGEST = hashlib.sha256(DATA).hexdigest()


def packed(data: bytes) -> bytes:
    small = zlib.compress(data)
    return struct.pack(">I", len(small) | PACKED) + small


def bits(*numbers: int) -> str:
    field = bytearray(8)
    for number in numbers:
        field[number // 8] |= 1 << number % 8
    return base64.b64encode(bytes(field)).decode()


def needed(answer: dict[str, Any], count: int) -> list[int]:
    (blob,) = answer["missing"]
    field = base64.b64decode(blob["needed"])
    return [number for number in range(count) if field[number // 8] >> number % 8 & 1]


def take(agent: Agent, payload: bytes, entry: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Run the job and return its last event."""
    return agent.send(wire.encode_job("transfer.take", str(agent.root), {"blobs": [{**entry, **more}]}) + payload)[1][-1]


def part(agent: Agent, digest: str = DIGEST) -> Path:
    return agent.root / "incoming" / (digest + ".part")


def blob(agent: Agent, digest: str = DIGEST) -> Path:
    return agent.root / "blobs" / "sha256" / digest


def test_a_blob_arrives(each_agent: Agent) -> None:
    entry = listed(*PIECES)
    answer = each_agent.ask("transfer.offer", blobs=[entry])
    assert needed(answer, 6) == [0, 1, 2, 3, 4, 5]
    assert (answer["links"], answer["missing"][0]["have_bytes"]) == (True, 0)
    payload = b"".join(packed(piece) if number % 2 else frame(piece) for number, piece in enumerate(PIECES))
    told = take(each_agent, payload, entry, needed=bits(*range(6)))
    assert told == {"event": "result", "data": {"received_bytes": len(DATA)}}
    assert blob(each_agent).read_bytes() == DATA
    assert blob(each_agent).stat().st_mode & 0o777 == 0o444
    assert each_agent.ask("transfer.offer", blobs=[entry])["missing"] == []
    assert list((each_agent.root / "incoming").iterdir()) == []


def test_the_journal_tells_of_a_release_s_bytes(each_agent: Agent) -> None:
    more = {"app": "meter", "release": "a" * 64, "deployment": "0123456789abcdef"}
    job = {"blobs": [{**listed(b"x"), "needed": bits(0)}], **more}
    assert each_agent.send(wire.encode_job("transfer.take", str(each_agent.root), job) + frame(b"x"))[0] == 0
    noted = [(entry["event"], entry["release"], entry["deployment"]) for entry in journal.entries(str(each_agent.root), "meter")]
    assert noted == [("received", "a" * 64, "0123456789abcdef"), ("verified", "a" * 64, "0123456789abcdef")]


def test_only_what_is_nowhere_is_asked_for(each_agent: Agent) -> None:
    take(each_agent, b"".join(map(frame, PIECES)), listed(*PIECES), needed=bits(*range(6)))
    changed = [PIECES[0], b"new" * 1000, PIECES[1], PIECES[5], b"new" * 1000, PIECES[2]]
    entry = listed(*changed)
    assert needed(each_agent.ask("transfer.offer", blobs=[entry]), 6) == [1]
    told = take(each_agent, frame(changed[1]), entry, needed=bits(1))
    assert told["data"] == {"received_bytes": 3000}
    assert blob(each_agent, entry["sha256"]).read_bytes() == b"".join(changed)


@pytest.mark.parametrize("cut", [0, 3, 4, 5, 7999, 8000, 8004, 20_000, 40_000])
def test_a_break_at_any_byte_keeps_what_has_come(agent: Agent, cut: int) -> None:
    entry = listed(*PIECES)
    stream = b"".join(map(frame, PIECES))
    assert take(agent, stream[:cut], entry, needed=bits(*range(6)))["kind"] == "stopped"
    came = sum(max(0, min(cut - number * 8004 - 4, 8000)) for number in range(6))
    assert part(agent).stat().st_size == came
    (answer,) = agent.ask("transfer.offer", blobs=[entry])["missing"]
    assert answer["have_bytes"] + answer["tail_bytes"] == came
    assert answer["have_bytes"] == came // 8000 * 8000
    if answer["tail_bytes"]:
        assert answer["tail_sha256"] == hashlib.sha256(DATA[answer["have_bytes"] : came]).hexdigest()
    rest = b"".join(frame(PIECES[number][max(0, came - number * 8000) :]) for number in range(came // 8000, 6))
    told = take(agent, rest, entry, needed=answer["needed"], start=came)
    assert told["data"] == {"received_bytes": len(DATA) - came}
    assert blob(agent).read_bytes() == DATA


def test_a_packed_frame_that_breaks_off_is_used_as_far_as_it_came(agent: Agent) -> None:
    data = os.urandom(200_000)
    entry = listed(data)
    take(agent, packed(data)[:100_000], entry, needed=bits(0))
    have = part(agent, entry["sha256"]).stat().st_size
    assert 60_000 < have < 100_000
    assert part(agent, entry["sha256"]).read_bytes() == data[:have]
    assert take(agent, packed(data[have:]), entry, needed=bits(0), start=have)["event"] == "result"


def test_a_part_is_sound_as_far_as_its_chunks_say(agent: Agent) -> None:
    """A power cut may leave zeros at the end of a file, or in it."""
    entry = listed(*PIECES)
    agent.ask("transfer.offer", blobs=[])
    part(agent).write_bytes(DATA[:8000] + bytes(8000) + DATA[16_000:20_000])
    (answer,) = agent.ask("transfer.offer", blobs=[entry])["missing"]
    assert (answer["have_bytes"], answer["tail_bytes"]) == (8000, 0)
    assert take(agent, b"".join(map(frame, PIECES[1:])), entry, needed=answer["needed"], start=8000)["event"] == "result"
    assert blob(agent).read_bytes() == DATA


@pytest.mark.parametrize("spoil", ["blob", "list"])
def test_a_damaged_source_is_found_dropped_and_asked_for(agent: Agent, spoil: str) -> None:
    take(agent, b"".join(map(frame, PIECES)), listed(*PIECES), needed=bits(*range(6)))
    if spoil == "blob":
        blob(agent).chmod(0o644)
        blob(agent).write_bytes(b"\xff" + DATA[1:])
    else:
        path = agent.root / "chunks" / DIGEST
        path.write_bytes(path.read_bytes()[RECORD.size :] + path.read_bytes()[: RECORD.size])
    changed = [PIECES[0], PIECES[1], b"new"]
    entry = listed(*changed)
    assert needed(agent.ask("transfer.offer", blobs=[entry]), 3) == [2]
    assert take(agent, frame(b"new"), entry, needed=bits(2))["kind"] == "mismatch"
    assert blob(agent).exists() is (spoil == "list")
    assert needed(agent.ask("transfer.offer", blobs=[entry]), 3) == [0, 1, 2]
    assert take(agent, b"".join(map(frame, changed)), entry, needed=bits(0, 1, 2))["event"] == "result"


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (frame(PIECES[0][:-1]), "mismatch"),
        (frame(PIECES[1]), "mismatch"),
        (packed(PIECES[1]), "mismatch"),
        (packed(PIECES[0] + b"more"), "mismatch"),
        (packed(PIECES[0][:-1]), "mismatch"),
        (packed(bytes(50 << 20)), "mismatch"),
        (struct.pack(">I", 9 | PACKED) + b"not zlib's", "mismatch"),
        (struct.pack(">I", PACKED) + b"", "mismatch"),
        (struct.pack(">I", 0x7FFFFFFF) + b"x" * 10, "mismatch"),
        (b"", "stopped"),
    ],
    ids=range(10),
)
def test_what_is_no_frame_of_it_is_refused(agent: Agent, payload: bytes, kind: str) -> None:
    assert take(agent, payload, listed(PIECES[0]), needed=bits(0))["kind"] == kind
    assert not (agent.root / "blobs" / "sha256").exists() or list((agent.root / "blobs" / "sha256").iterdir()) == []
    assert part(agent, listed(PIECES[0])["sha256"]).stat().st_size <= len(PIECES[0])


def test_the_whole_counts_even_where_its_chunks_fit(agent: Agent) -> None:
    entry = {**listed(*PIECES), "sha256": "0" * 64}
    assert take(agent, b"".join(map(frame, PIECES)), entry, needed=bits(*range(6)))["kind"] == "mismatch"
    assert not part(agent, "0" * 64).exists()


@pytest.mark.parametrize(
    "chunks",
    [
        b"x" * 19,
        RECORD.pack(b"x" * 16, 0),
        RECORD.pack(b"x" * 16, 9),
        RECORD.pack(b"x" * 16, 1 << 31),
        RECORD.pack(b"x" * 16, 1) * (CHUNKS_MAX + 1),
    ],
    ids=["torn", "empty chunk", "short of the size", "beyond the size", "too many"],
)
def test_lists_that_cannot_be(agent: Agent, chunks: bytes) -> None:
    size = CHUNKS_MAX + 1 if len(chunks) > 20 else 10
    entry = {"sha256": DIGEST, "bytes": size, "chunks": base64.b64encode(chunks).decode()}
    assert agent.refuse("transfer.offer", blobs=[entry])["kind"] == "usage"


def test_links_are_not_followed(agent: Agent, tmp_path: Path) -> None:
    agent.ask("transfer.offer", blobs=[])
    (tmp_path / "outside").write_bytes(b"kept")
    part(agent).symlink_to(tmp_path / "outside")
    (answer,) = agent.ask("transfer.offer", blobs=[listed(*PIECES)])["missing"]
    assert answer["have_bytes"] == 0
    assert take(agent, b"".join(map(frame, PIECES)), listed(*PIECES), needed=bits(*range(6)))["kind"] == "state"
    assert (tmp_path / "outside").read_bytes() == b"kept"


def test_whoever_comes_second_goes_on_beside(agent: Agent) -> None:
    """The first may be another host, or the agent of a link that broke without its noticing."""
    entry = listed(*PIECES)
    line = wire.encode_job("transfer.take", str(agent.root), {"blobs": [{**entry, "needed": bits(*range(6))}]})
    with subprocess.Popen(agent.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        first.stdin.write(line + frame(PIECES[0]) + frame(PIECES[1])[:100])
        first.stdin.flush()
        while not part(agent).exists() or part(agent).stat().st_size < 8000:
            time.sleep(0.02)
        rest = b"".join(map(frame, PIECES[1:]))
        assert take(agent, rest[:10_000], entry, needed=bits(*range(6)), start=8000)["kind"] == "stopped"
        assert part(agent).stat().st_size == 8000 + 10_000 - 2 * 4
        assert take(agent, rest, entry, needed=bits(*range(6)), start=8000)["event"] == "result"
        assert blob(agent).read_bytes() == DATA
        first.stdin.write(frame(PIECES[1])[100:] + b"".join(map(frame, PIECES[2:])))
        first.stdin.close()
        assert wire.decode_event(first.stdout.read().splitlines()[-1])["event"] == "result"
        assert first.wait(20) == 0
    assert list((agent.root / "incoming").iterdir()) == []
    assert blob(agent).read_bytes() == DATA


def test_a_host_that_falls_silent_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdin, "SILENT_S", 0.2)
    reading, writing = os.pipe()
    os.write(writing, b"the job\nand the fir")
    source = stdin.Stdin(reading)
    assert source.line(100) == b"the job\n"
    assert source.read(3) + source.read(100) == b"and the fir"
    with pytest.raises(AgentError, match="the host has sent nothing for"):
        source.read(100)
    os.close(writing)
    assert source.read(100) == b""
    os.close(reading)


def test_who_was_overtaken_does_not_name_the_part_of_another(agent: Agent) -> None:
    """While the first stands still, a second goes on from a copy and breaks off: its part stands where the first one's stood."""
    entry = listed(*PIECES)
    line = wire.encode_job("transfer.take", str(agent.root), {"blobs": [{**entry, "needed": bits(*range(6))}]})
    with subprocess.Popen(agent.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        first.stdin.write(line + frame(PIECES[0]))
        first.stdin.flush()
        while not part(agent).exists() or part(agent).stat().st_size < 8000:
            time.sleep(0.02)
        rest = b"".join(map(frame, PIECES[1:]))
        assert take(agent, rest[:10_000], entry, needed=bits(*range(6)), start=8000)["kind"] == "stopped"
        first.stdin.write(rest)
        first.stdin.close()
        last = wire.decode_event(first.stdout.read().splitlines()[-1])
        assert (last["kind"], "another agent has taken" in last["message"]) == ("mismatch", True)
        assert first.wait(20) == 1
    assert not blob(agent).exists()
    assert part(agent).stat().st_size == 8000 + 10_000 - 2 * 4
    assert take(agent, frame(DATA[17_992:24_000]) + b"".join(map(frame, PIECES[3:])), entry, needed=bits(*range(6)), start=17_992)["data"]
    assert blob(agent).read_bytes() == DATA


def test_a_list_without_its_blob_goes(agent: Agent) -> None:
    take(agent, b"".join(map(frame, PIECES)), listed(*PIECES), needed=bits(*range(6)))
    blob(agent).unlink()
    assert needed(agent.ask("transfer.offer", blobs=[listed(PIECES[3])]), 1) == [0]
    assert list((agent.root / "chunks").iterdir()) == []
