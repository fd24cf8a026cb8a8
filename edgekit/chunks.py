"""Cutting a file into chunks by its content, so that a changed file shares most chunks with the one before.

Called by `edgekit.devices.transfer`. A board only reads the lists (`edgekit.ondevice.chunks`), so how files are cut may change with
any release of edgekit: it costs one full transfer, never a wrong byte.
"""

from __future__ import annotations

import functools
import hashlib
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.ondevice.chunks import MARK_BYTES, Chunk

__all__ = ["average_bytes", "cut"]

_BLOCK_BYTES = 1 << 18
# The hash is a sum over the last 32 bytes: bit 31 sees all of them, the 16 to 24 bits that decide see at least the last 9.
_WINDOW_BYTES = 32
_AVERAGE_LOG2_MIN, _AVERAGE_LOG2_MAX = 16, 24
_CHUNKS_WANTED = 8192
# Normalised chunking (level 2): a stricter rule before the average and a laxer one after it keep most sizes near the average, and
# the limits, whose cuts do not follow the content, rare.
_NORMAL_BITS = 2


def _gear() -> NDArray[np.uint32]:
    """Return a random number for each value of a byte: the same for ever, for it decides where files are cut."""
    words = [hashlib.sha256(b"edgekit gear %d" % value).digest()[:4] for value in range(256)]
    return np.frombuffer(b"".join(words), dtype=">u4").astype(np.uint32)


def average_bytes(size: int) -> int:
    """Return the average size of a chunk, a power of two: 64 KiB, and more for a file that would have more than 8,192 of them."""
    return 1 << min(max(_AVERAGE_LOG2_MIN, (size // _CHUNKS_WANTED).bit_length()), _AVERAGE_LOG2_MAX)


@functools.lru_cache(maxsize=256)
def cut(path: Path, sha256: str) -> tuple[Chunk, ...]:
    """Return a file's chunks, in order; of a file of up to a quarter of the average size it is one.

    A position is a candidate where the highest bits of a rolling hash of the bytes before it are zero. The rule is FastCDC's: gear hash,
    a minimum below which nothing is cut, normalised chunking (W. Xia et al., "FastCDC: a Fast and Efficient Content-Defined
    Chunking Approach for Data Deduplication", USENIX ATC 2016, sections 3.2 to 3.4). What is ours is computing the hash for all bytes at
    once: that of 2n bytes is that of the last n plus that of the n before, shifted.

    Parameters
    ----------
    sha256
        The file's digest; its list is remembered under it, so that many boards cost one reading.
    """
    size = path.stat().st_size
    average = average_bytes(size)
    bits = average.bit_length() - 1
    lax, strict = _candidates(path, bits - _NORMAL_BITS, bits + _NORMAL_BITS)
    chunks = []
    with path.open("rb") as file:
        for length in _lengths(size, average, lax, strict):
            chunks.append(Chunk(hashlib.sha256(file.read(length)).digest()[:MARK_BYTES], length))
    return tuple(chunks)


def _lengths(size: int, average: int, lax: list[int], strict: list[int]) -> Iterator[int]:
    """Yield the lengths between the cuts that the candidates give; the limits are a quarter and four times the average."""
    start = 0
    while size - start > average // 4:
        normal, end = min(start + average, size), min(start + average * 4, size)
        first = bisect_left(strict, start + average // 4)
        if first < len(strict) and strict[first] < normal:
            end = strict[first]
        else:
            later = bisect_left(lax, normal)
            if later < len(lax) and lax[later] < end:
                end = lax[later]
        yield end - start
        start = end
    if size > start:
        yield size - start


def _candidates(path: Path, lax_bits: int, strict_bits: int) -> tuple[list[int], list[int]]:
    """Return the positions after which the hash has so many zero bits on top: those of the laxer rule, and of the stricter."""
    gear = _gear()
    found: tuple[list[int], list[int]] = [], []
    with path.open("rb") as file:
        before, at = b"", 0
        while block := file.read(_BLOCK_BYTES):
            data = np.frombuffer(before + block, dtype=np.uint8)
            rolling = gear[data]
            width = 1
            while width < _WINDOW_BYTES:
                rolling[width:] += rolling[:-width] << np.uint32(width)
                width *= 2
            rolling = rolling[len(before) :]
            (hits,) = np.nonzero(rolling < np.uint32(1 << 32 - lax_bits))
            found[0].extend((hits + (at + 1)).tolist())
            found[1].extend((hits[rolling[hits] < np.uint32(1 << 32 - strict_bits)] + (at + 1)).tolist())
            before = (before + block)[-(_WINDOW_BYTES - 1) :]
            at += len(block)
    return found
