from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.chunks import _gear, average_bytes, cut
from edgekit.ondevice.chunks import Chunk


def _cut(folder: Path, data: bytes) -> tuple[Chunk, ...]:
    sha256 = hashlib.sha256(data).hexdigest()
    path = folder / sha256
    path.write_bytes(data)
    chunks = cut(path, sha256)
    at = 0
    for mark, size in chunks:
        assert mark == hashlib.sha256(data[at : at + size]).digest()[:16]
        at += size
    assert at == len(data)
    return chunks


def _random(size: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).bytes(size)


@pytest.fixture(scope="module")
def weights() -> bytes:
    """Six million int8 values as a layer's are: bell-shaped, most of them small."""
    values = np.clip(np.random.default_rng(7).normal(0, 24, 6_000_000).round(), -127, 127)
    return bytes(values.astype(np.int8))


def test_sizes(tmp_path: Path, weights: bytes) -> None:
    chunks = _cut(tmp_path, weights)
    sizes = np.array([chunk.size for chunk in chunks[:-1]])
    assert sizes.min() >= 16 << 10
    assert sizes.max() <= 256 << 10
    assert 50_000 < sizes.mean() < 90_000
    assert (sizes == 256 << 10).mean() < 0.02, "a cut at the limit does not follow the content"


@pytest.mark.parametrize("size", [0, 1, 16 << 10, (16 << 10) + 1, 70_000, (1 << 18) + 31])
def test_small_files(tmp_path: Path, size: int) -> None:
    chunks = _cut(tmp_path, _random(size))
    assert len(chunks) == (1 if 0 < size <= 16 << 10 else len(chunks))


def test_bytes_of_one_value_become_equal_chunks(tmp_path: Path) -> None:
    for value in (0, 255):
        assert len({chunk.mark for chunk in _cut(tmp_path, bytes([value]) * (2 << 20))[:-1]}) == 1


def test_the_hash_is_that_of_the_bytes_before(tmp_path: Path) -> None:
    """The hash of all positions at once is the rolling one, across the blocks in which a file is read."""
    data = _random(600_000, 3)
    gear, rolling, start = [int(value) for value in _gear()], 0, 0
    cuts = []
    for at, byte in enumerate(data):
        rolling = ((rolling << 1) + gear[byte]) & 0xFFFFFFFF
        size = at + 1 - start
        zeros = 18 if size < 65536 else 14
        if (size >= 16384 and rolling >> 32 - zeros == 0) or size == 262144:
            cuts.append(size)
            start = at + 1
    found = [chunk.size for chunk in _cut(tmp_path, data)]
    assert found[: len(cuts)] == cuts


@pytest.mark.parametrize("change", ["insert", "replace", "remove"])
def test_a_change_stays_where_it_is(tmp_path: Path, weights: bytes, change: str) -> None:
    """What lies behind a change is cut as before, though it has moved."""
    new = {"insert": 1001, "replace": 50_000, "remove": 0}[change]
    gone = {"insert": 0, "replace": 50_000, "remove": 1001}[change]
    changed = weights[:3_000_000] + _random(new) + weights[3_000_000 + gone :]
    before = {chunk.mark for chunk in _cut(tmp_path, weights)}
    fresh = sum(chunk.size for chunk in _cut(tmp_path, changed) if chunk.mark not in before)
    assert fresh < new + 400_000


@given(st.integers(0, 1 << 40))
def test_lists_stay_short(size: int) -> None:
    average = average_bytes(size)
    assert average >= 1 << 16
    assert average & (average - 1) == 0
    if size <= 1 << 37:
        assert size / average <= 8192


def test_where_files_are_cut_stays_the_same(tmp_path: Path) -> None:
    """Another table or rule would cost every board one full transfer."""
    lengths = [chunk.size for chunk in _cut(tmp_path, hashlib.shake_128(b"edgekit").digest(1 << 20))]
    assert sum(lengths) == 1 << 20
    assert lengths == [70712, 67449, 65358, 88666, 88413, 109113, 77311, 124152, 75906, 86041, 68690, 95043, 31722]
