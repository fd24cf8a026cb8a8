"""Blobs that arrive: job `transfer.offer` says what is missing, job `transfer.take` takes it from the same stdin.

A blob is cut into chunks by the host. What comes are frames, one for each chunk that is nowhere here, in the order of the blobs and of
their chunks: four bytes (the payload's length, the highest bit set where it is zlib's), then the payload.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import struct
import time
import zlib
from typing import Any, BinaryIO, Iterator, List

from .chunks import MARK_BYTES, Chunk, Place, find, forget, keep
from .disk import blob_path, free_bytes, locked, make_folder, regular_bytes, sha256_file
from .journal import note
from .parts import BLOCK_BYTES, Blob, become, blobs_of, blocks, can_link, opened, sound
from .stdin import Stdin
from .wire import DIGEST, NAME, SENT_STAGE, AgentError, Progress, matching

__all__ = ["PACKED", "offer", "take"]

PACKED = 1 << 31  # in a frame's head
# So much at most is lost with the power; a card takes it in well under a second.
SYNC_BYTES = 16 << 20
TELL_S = 0.25


def offer(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Say of each blob that is not here how much of it is, and which of its chunks must come; change nothing."""
    incoming = make_folder(os.path.join(root, "incoming"))
    missing = [blob for blob in blobs_of(job) if regular_bytes(blob_path(root, blob.digest)) != blob.size]
    known = set(find(root, [chunk.mark for blob in missing for chunk in blob.chunks]))
    answers = []
    for done, blob in enumerate(missing):
        progress("look for what is there", done, len(missing))
        count, have, tail, tail_sha256 = sound(os.path.join(incoming, blob.digest + ".part"), blob)
        known.update(chunk.mark for chunk in blob.chunks[:count])
        bits = bytearray((len(blob.chunks) + 7) // 8)
        for number in range(count, len(blob.chunks)):
            mark = blob.chunks[number].mark
            if mark not in known:
                bits[number // 8] |= 1 << number % 8
                known.add(mark)
        answers.append(
            {
                "sha256": blob.digest,
                "have_bytes": have,
                "tail_bytes": tail,
                "tail_sha256": tail_sha256,
                "needed": base64.b64encode(bits).decode("ascii"),
            }
        )
    return {"missing": answers, "free_bytes": free_bytes(root), "links": can_link(incoming)}


def take(job: dict[str, Any], root: str, progress: Progress, stdin: Stdin) -> dict[str, Any]:
    """Make the blobs out of what comes and what is here, each verified, durable, then named. A break keeps what has come."""
    blobs = blobs_of(job)
    make_folder(os.path.join(root, "incoming"))
    make_folder(os.path.dirname(blob_path(root, "")))
    if sum(blob.size - blob.start for blob in blobs) > free_bytes(root):
        raise AgentError("no-space", "%d bytes are free under %s" % (free_bytes(root), root))
    taking = _Taking(root, progress, stdin, blobs)
    for blob in blobs:
        taking.blob(blob)
    taking.tell(0)
    if job.get("app") is not None:
        _note(job, root)
    return {"received_bytes": taking.done}


def _note(job: dict[str, Any], root: str) -> None:
    app, release = matching(job["app"], NAME, "app"), matching(job.get("release"), DIGEST, "release")
    with locked(root):
        for event in ("received", "verified"):
            note(root, app, event, release, deployment=job.get("deployment"))


class _Taking:
    """One stream and where its chunks have gone."""

    def __init__(self, root: str, progress: Progress, stdin: Stdin, blobs: List[Blob]) -> None:
        self.root, self.progress, self.stdin = root, progress, stdin
        self.places = find(root, [chunk.mark for blob in blobs for chunk in blob.chunks])
        self.done, self.total = 0, sum(_to_come(blob) for blob in blobs)
        self.told, self.unsynced = 0.0, 0

    def tell(self, count: int) -> None:
        self.done += count
        if not count or time.monotonic() - self.told >= TELL_S:
            self.told = time.monotonic()
            self.progress(SENT_STAGE, self.done, self.total)

    def blob(self, blob: Blob) -> None:
        with opened(self.root, blob) as (part, file):
            whole, at = hashlib.sha256(), 0
            for chunk, needed in zip(blob.chunks, blob.needed):
                digest, have = hashlib.sha256(), min(max(blob.start - at, 0), chunk.size)
                file.seek(at)
                for block in blocks(file, have):
                    digest.update(block)
                    whole.update(block)
                file.seek(at + have)
                place = None if needed else self.places.get(chunk.mark)
                for block in self._rest(blob, chunk, have, needed, place, part):
                    digest.update(block)
                    whole.update(block)
                    file.write(block)
                    self._sync(file, len(block))
                if digest.digest()[:MARK_BYTES] != chunk.mark:
                    file.truncate(at)
                    if place:
                        self._distrust(place[0])
                    raise AgentError("mismatch", "bytes %d to %d of %s are not what they should be" % (at, at + chunk.size, blob.digest))
                file.flush()
                self.places.setdefault(chunk.mark, (blob.digest, at))
                at += chunk.size
            if whole.hexdigest() != blob.digest:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(part)
                raise AgentError("mismatch", "what came for %s is something else; it is deleted" % blob.digest)
            file.truncate(blob.size)
            os.fsync(file.fileno())
            keep(self.root, blob.digest, blob.chunks)
            become(part, file, blob_path(self.root, blob.digest), blob)

    def _rest(self, blob: Blob, chunk: Chunk, have: int, needed: bool, place: Place | None, part: str) -> Iterator[bytes]:
        """Yield what a chunk still lacks, from the stream or from what is here."""
        if have == chunk.size:
            return
        if needed:
            for block in self._frame(chunk.size - have):
                yield block
                self.tell(len(block))
            return
        if place is None:
            raise AgentError("mismatch", "a chunk of %s that was here is here no more" % blob.digest)
        source = part if place[0] == blob.digest else blob_path(self.root, place[0])
        try:
            with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                file.seek(place[1] + have)
                yield from blocks(file, chunk.size - have)
        except FileNotFoundError as error:
            raise AgentError("mismatch", "the blob %s is here no more" % place[0]) from error

    def _frame(self, size: int) -> Iterator[bytes]:
        (head,) = struct.unpack(">I", b"".join(self._come(4)))
        length, inflate = head & ~PACKED, zlib.decompressobj()
        if not head & PACKED:
            if length != size:
                raise AgentError("mismatch", "a frame of %d bytes came instead of %d" % (length, size))
            yield from self._come(size)
            return
        left = size
        try:
            for block in self._come(length):
                while block:
                    out = inflate.decompress(block, BLOCK_BYTES)
                    left -= len(out)
                    if left < 0 or (not out and inflate.unconsumed_tail == block):
                        raise zlib.error("it holds something else")
                    yield out
                    block = inflate.unconsumed_tail
            out = inflate.flush()
            left -= len(out)
            yield out
        except zlib.error as error:
            raise AgentError("mismatch", "a frame cannot be unpacked: %s" % error) from error
        if left:
            raise AgentError("mismatch", "a frame holds %d bytes instead of %d" % (size - left, size))

    def _come(self, count: int) -> Iterator[bytes]:
        while count:
            block = self.stdin.read(min(count, BLOCK_BYTES))
            if not block:
                raise AgentError("stopped", "the host has gone in the middle of the transfer")
            count -= len(block)
            yield block

    def _sync(self, file: BinaryIO, count: int) -> None:
        self.unsynced += count
        if self.unsynced >= SYNC_BYTES:
            self.unsynced = 0
            file.flush()
            os.fdatasync(file.fileno())

    def _distrust(self, digest: str) -> None:
        """A blob, or its list, is not what it says: the one that lies goes."""
        path = blob_path(self.root, digest)
        if regular_bytes(path) is not None and sha256_file(path) != digest:
            os.unlink(path)
        forget(self.root, digest)


def _to_come(blob: Blob) -> int:
    at = total = 0
    for chunk, needed in zip(blob.chunks, blob.needed):
        total += max(0, at + chunk.size - max(at, blob.start)) if needed else 0
        at += chunk.size
    return total
