"""What is packed, and how; pieces and their rate."""

from __future__ import annotations

import json
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from edgekit.devices import stream
from edgekit.devices.stream import Gap, Stream
from edgekit.ondevice.chunks import Chunk
from edgekit.ondevice.transfer import PACKED

RANDOM = np.random.default_rng(1).bytes(400_000)
WEIGHTS = bytes(np.clip(np.random.default_rng(2).normal(0, 20, 400_000).round(), -127, 127).astype(np.int8))
TEXT = json.dumps([{"layer": number, "scale": number / 7} for number in range(10_000)]).encode()[:400_000]


def _gap(folder: Path, data: bytes, start: int = 0, needed: bytes = b"\xff") -> Gap:
    path = folder / f"{len(list(folder.iterdir()))}"
    path.write_bytes(data)
    quarter = len(data) // 4
    return Gap(sha256="", path=path, chunks=tuple(Chunk(b"", quarter) for _ in range(4)), start=start, needed=needed)


def _frames(data: bytes) -> list[bytes]:
    found = []
    while data:
        (head,) = struct.unpack(">I", data[:4])
        body, data = data[4 : 4 + (head & ~PACKED)], data[4 + (head & ~PACKED) :]
        found.append(zlib.decompress(body) if head & PACKED else body)
    return found


@pytest.mark.parametrize(
    ("data", "low", "high"), [(RANDOM, 1.0, 1.001), (WEIGHTS, 0.7, 0.85), (TEXT, 0.1, 0.35)], ids=["random", "weights", "text"]
)
def test_what_gets_smaller_is_packed(tmp_path: Path, data: bytes, low: float, high: float) -> None:
    sending = Stream((_gap(tmp_path, data),), rate_bytes_s=None, pack=True)
    sent = b"".join(sending)
    assert b"".join(_frames(sent)) == data
    assert low <= len(sent) / len(data) <= high
    assert sending.sent == len(sent)


def test_only_what_is_needed_from_where_it_goes_on(tmp_path: Path) -> None:
    gap = _gap(tmp_path, RANDOM, start=150_000, needed=bytes([0b1010]))
    sent = b"".join(Stream((gap,), rate_bytes_s=None, pack=False))
    assert _frames(sent) == [RANDOM[150_000:200_000], RANDOM[300_000:]]


def test_pieces_fill_their_packets(tmp_path: Path) -> None:
    pieces = list(Stream((_gap(tmp_path, RANDOM), _gap(tmp_path, RANDOM)), rate_bytes_s=None, pack=False))
    assert {len(piece) for piece in pieces[:-1]} == {(32 << 10) - 64}


def test_a_rate_holds_from_the_first_piece_on(tmp_path: Path) -> None:
    start_s = time.monotonic()
    pieces = list(Stream((_gap(tmp_path, RANDOM),), rate_bytes_s=1_000_000, pack=False))
    assert time.monotonic() - start_s >= 0.9 * 0.4
    assert max(map(len, pieces)) <= 100_000


@pytest.mark.parametrize(("piece_s", "packed"), [(0.001, False), (0.1, True)], ids=["quick link", "slow link"])
def test_packing_ends_where_the_link_is_quicker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_s: float, packed: bool) -> None:
    """By a clock of our own: packing a chunk takes 10 ms, and the link so long for a piece."""
    clock, deflate = [0.0], stream._deflate

    def slow(data: bytes, strategy: int) -> bytes:
        clock[0] += 0.01 if len(data) > 4096 else 0.0
        return deflate(data, strategy)

    monkeypatch.setattr(stream, "_JUDGED_BYTES", 100_000)
    monkeypatch.setattr(stream, "_deflate", slow)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    sent = 0
    for piece in Stream(tuple(_gap(tmp_path, WEIGHTS) for _ in range(5)), rate_bytes_s=None, pack=True):
        clock[0] += piece_s
        sent += len(piece)
    assert (sent < 0.85 * 5 * len(WEIGHTS)) is packed
