"""The stream of a transfer: which bytes of which files, packed where that pays, at the rate that is allowed.

Called by `edgekit.devices.transfer`. For the form of the frames see `edgekit.ondevice.transfer`.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekit.ondevice.chunks import Chunk
from edgekit.ondevice.transfer import PACKED

__all__ = ["Gap", "Stream"]

# What fits into one packet of an OpenSSH channel (32 KiB, CHAN_SES_PACKET_DEFAULT), less what paramiko keeps for its head.
_PIECE_BYTES = (1 << 15) - 64
# Packing pays where it saves a twentieth; after a chunk where it does not, so many go as they are.
_PAYS_BELOW, _SKIP = 0.95, 7
_HEAD_BYTES, _REPEATS_BELOW = 4096, 0.9
# A link that takes bytes about as quickly as they are packed gains nothing by it: then packing ends. What sockets and channels hold (some
# megabytes) goes out at once and must not decide.
_PACKING_SHARE_MAX, _JUDGED_BYTES = 0.5, 8 << 20


@dataclass(frozen=True)
class Gap:
    """A blob that a board lacks: its bytes from ``start`` on are not there, and of its chunks those ``needed`` are nowhere on it."""

    sha256: str
    path: Path
    chunks: tuple[Chunk, ...]
    start: int
    needed: bytes

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Yield what must travel: where in the file, and how many bytes."""
        at = 0
        for number, chunk in enumerate(self.chunks):
            first = max(at, self.start)
            at += chunk.size
            if self.needed[number // 8] >> number % 8 & 1 and first < at:
                yield first, at - first


class _Packer:
    """Packs chunks where that makes fewer bytes: by how frequent their bytes are, or by repetitions where a chunk's head shows some.

    Weights repeat nothing, but not all bytes are as frequent: Huffman codes alone take an INT8 network to 0.79 and a float one to 0.93 of
    its size at 175 MB/s on one core; level 1, which searches for repetitions, to 0.82 and 0.93 at 50 MB/s (docs/benchmarks.md).
    """

    def __init__(self) -> None:
        self._skip = 0

    def frame(self, data: bytes) -> bytes:
        """Return a chunk as a frame."""
        if self._skip:
            self._skip -= 1
        else:
            head = data[:_HEAD_BYTES]
            repeats = len(_deflate(head, zlib.Z_DEFAULT_STRATEGY)) < _REPEATS_BELOW * len(_deflate(head, zlib.Z_HUFFMAN_ONLY))
            packed = _deflate(data, zlib.Z_DEFAULT_STRATEGY if repeats else zlib.Z_HUFFMAN_ONLY)
            if len(packed) < _PAYS_BELOW * len(data):
                return struct.pack(">I", len(packed) | PACKED) + packed
            self._skip = _SKIP
        return struct.pack(">I", len(data)) + data


def _deflate(data: bytes, strategy: int) -> bytes:
    packing = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
    return packing.compress(data) + packing.flush()


class Stream:
    """The frames of what is needed, in pieces of one size; iterated once.

    Parameters
    ----------
    rate_bytes_s
        At most so many bytes go out per second; None: as fast as they are asked for.
    pack
        Compress what gets smaller by it, unless the link is quicker than that.

    Attributes
    ----------
    sent
        How many bytes have gone out.
    """

    def __init__(self, gaps: tuple[Gap, ...], *, rate_bytes_s: int | None, pack: bool) -> None:
        self.sent = 0
        self._gaps, self._rate, self._pack = gaps, rate_bytes_s, pack
        self._piece_bytes = max(1, min(_PIECE_BYTES, rate_bytes_s // 10)) if rate_bytes_s else _PIECE_BYTES
        self._free_s = 0.0

    def __iter__(self) -> Iterator[bytes]:
        packer, frames, judged = _Packer() if self._pack else None, bytearray(), 0
        packing_s = sending_s = 0.0
        for data in self._chunks():
            start_s = time.monotonic()
            frames += packer.frame(data) if packer else struct.pack(">I", len(data)) + data
            packed_s = time.monotonic()
            while len(frames) >= self._piece_bytes:
                yield self._piece(frames)
            packing_s, sending_s = packing_s + packed_s - start_s, sending_s + time.monotonic() - packed_s
            if self.sent - judged >= _JUDGED_BYTES:
                if packing_s > _PACKING_SHARE_MAX * sending_s:
                    packer = None
                judged, packing_s, sending_s = self.sent, 0.0, 0.0
        if frames:
            yield self._piece(frames)

    def _chunks(self) -> Iterator[bytes]:
        for gap in self._gaps:
            with gap.path.open("rb") as file:
                for at, count in gap.pieces():
                    file.seek(at)
                    yield file.read(count)

    def _piece(self, frames: bytearray) -> bytes:
        """Cut the next piece off; it waits until those before it have had their time."""
        piece = bytes(frames[: self._piece_bytes])
        del frames[: self._piece_bytes]
        if self._rate:
            now = time.monotonic()
            time.sleep(max(0.0, self._free_s - now))
            self._free_s = max(self._free_s, now) + len(piece) / self._rate
        self.sent += len(piece)
        return piece
