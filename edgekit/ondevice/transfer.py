"""Blobs that arrive: job `transfer.offer` says what is missing, job `transfer.take` takes it from the same stdin.

A blob is cut into chunks by the host. What comes are frames, one for each chunk that is nowhere here, in the order of the blobs and of
their chunks: four bytes (the payload's length, the highest bit set where it is zlib's), then the payload. A blob grows in
``incoming/<sha256>.part`` from its first byte to its last, so that the part's length says where to go on, whatever broke; the chunks'
digests say how far it is sound.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import struct
import time
import zlib
from typing import Any, BinaryIO, Iterator, List, NamedTuple

from .chunks import CHUNKS_MAX, MARK_BYTES, RECORD, Chunk, Place, find, forget, from_text, keep, parse
from .disk import blob_path, free_bytes, fsync_path, make_folder, regular_bytes, sha256_file
from .stdin import Stdin
from .store import BLOB_MAX_BYTES, FILES_MAX
from .wire import DIGEST, AgentError, Progress, integer, matching

BLOCK_BYTES = 1 << 18
PACKED = 1 << 31  # in a frame's head
# So much at most is lost with the power; a card takes it in well under a second.
SYNC_BYTES = 16 << 20
TELL_S = 0.25


class Blob(NamedTuple):
    """A blob that shall be here. ``start`` and ``needed`` come with `take`: where the stream goes on, which chunks are in it."""

    digest: str
    size: int
    chunks: List[Chunk]
    start: int
    needed: List[bool]


def offer(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Say of each blob that is not here how much of it is, and which of its chunks must come; change nothing."""
    incoming = make_folder(os.path.join(root, "incoming"))
    missing = [blob for blob in _blobs(job) if regular_bytes(blob_path(root, blob.digest)) != blob.size]
    known = set(find(root, [chunk.mark for blob in missing for chunk in blob.chunks]))
    answers = []
    for done, blob in enumerate(missing):
        progress("look for what is there", done, len(missing))
        count, have, tail, tail_sha256 = _sound(os.path.join(incoming, blob.digest + ".part"), blob)
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
    return {"missing": answers, "free_bytes": free_bytes(root), "links": _links(incoming)}


def take(job: dict[str, Any], root: str, progress: Progress, stdin: Stdin) -> dict[str, Any]:
    """Make the blobs out of what comes and what is here, each verified, durable, then named. A break keeps what has come."""
    blobs = _blobs(job)
    make_folder(os.path.join(root, "incoming"))
    make_folder(os.path.dirname(blob_path(root, "")))
    if sum(blob.size - blob.start for blob in blobs) > free_bytes(root):
        raise AgentError("no-space", "%d bytes are free under %s" % (free_bytes(root), root))
    taking = _Taking(root, progress, stdin, blobs)
    for blob in blobs:
        taking.blob(blob)
    taking.tell(0)
    return {"received_bytes": taking.done}


def _blobs(job: dict[str, Any]) -> List[Blob]:
    listed = job.get("blobs")
    if not isinstance(listed, list) or not len(listed) <= FILES_MAX or not all(isinstance(entry, dict) for entry in listed):
        raise AgentError("usage", "blobs must be a list of at most %d tables" % FILES_MAX)
    blobs = []
    for entry in listed:
        digest, size = matching(entry.get("sha256"), DIGEST, "a blob's sha256"), integer(entry, "bytes", 0, BLOB_MAX_BYTES)
        chunks = parse(from_text(entry.get("chunks"), "chunks", CHUNKS_MAX * RECORD.size), size)
        bits = from_text(entry.get("needed", ""), "needed", CHUNKS_MAX // 8)
        needed = [bool(number // 8 < len(bits) and bits[number // 8] >> number % 8 & 1) for number in range(len(chunks))]
        blobs.append(Blob(digest, size, chunks, integer(entry, "start", 0, size, 0), needed))
    if len({blob.digest for blob in blobs}) != len(blobs):
        raise AgentError("usage", "a blob is listed twice")
    return blobs


def _sound(part: str, blob: Blob) -> tuple[int, int, int, str]:
    """Return how many chunks of a part are sound, and their bytes; how many bytes of the next follow, and the SHA-256 of these.

    Whether those are sound only the host can tell.
    """
    if regular_bytes(part) is None:
        return 0, 0, 0, ""
    with open(os.open(part, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        at = 0
        for number, (mark, size) in enumerate(blob.chunks):
            digest, count = hashlib.sha256(), 0
            for block in _exactly(file, size):
                digest.update(block)
                count += len(block)
            if count < size:
                return number, at, count, digest.hexdigest()
            if digest.digest()[:MARK_BYTES] != mark:
                return number, at, 0, ""
            at += size
        return len(blob.chunks), at, 0, ""


def _links(folder: str) -> bool:
    """Tell whether a release can share its files with the blobs: not on FAT."""
    one, other = (os.path.join(folder, ".%d.%s" % (os.getpid(), name)) for name in ("one", "other"))
    try:
        os.close(os.open(one, os.O_WRONLY | os.O_CREAT, 0o600))
        os.link(one, other)
    except OSError:
        return False
    finally:
        for path in (one, other):
            with contextlib.suppress(OSError):
                os.unlink(path)
    return True


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
            self.progress("send", self.done, self.total)

    def blob(self, blob: Blob) -> None:
        with _opened(self.root, blob) as (part, file):
            whole, at = hashlib.sha256(), 0
            for chunk, needed in zip(blob.chunks, blob.needed):
                digest, have = hashlib.sha256(), min(max(blob.start - at, 0), chunk.size)
                file.seek(at)
                for block in _exactly(file, have):
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
                os.unlink(part)
                raise AgentError("mismatch", "what came for %s is something else; it is deleted" % blob.digest)
            self._finish(blob, part, file)

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
                yield from _exactly(file, chunk.size - have)
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

    def _finish(self, blob: Blob, part: str, file: BinaryIO) -> None:
        path = blob_path(self.root, blob.digest)
        file.truncate(blob.size)
        os.fchmod(file.fileno(), 0o444)  # releases share the blob by hard links: nobody should write through one
        os.fsync(file.fileno())
        keep(self.root, blob.digest, blob.chunks)
        try:
            os.replace(part, path)
        except FileNotFoundError:  # somebody else was faster, and has swept ours away
            if regular_bytes(path) != blob.size:
                raise
        fsync_path(os.path.dirname(path))
        incoming = os.path.join(self.root, "incoming")
        for name in os.listdir(incoming):
            if name.startswith(blob.digest):  # nobody needs them any more; who fills one finds the blob here
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(incoming, name))
        fsync_path(incoming)


def _to_come(blob: Blob) -> int:
    at = total = 0
    for chunk, needed in zip(blob.chunks, blob.needed):
        total += max(0, at + chunk.size - max(at, blob.start)) if needed else 0
        at += chunk.size
    return total


def _exactly(file: BinaryIO, count: int) -> Iterator[bytes]:
    while count:
        block = file.read(min(count, BLOCK_BYTES))
        if not block:
            return  # too short: the digest will tell
        count -= len(block)
        yield block


@contextlib.contextmanager
def _opened(root: str, blob: Blob) -> Iterator[tuple[str, BinaryIO]]:
    """Open a blob's part for us alone, its first ``start`` bytes in place; where somebody else fills it, a copy of our own.

    Who fills it may be another host, or the agent of a link that broke without its noticing.
    """
    shared = part = os.path.join(root, "incoming", blob.digest + ".part")
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            part = os.path.join(root, "incoming", "%s.%d.part" % (blob.digest, os.getpid()))
            stack.callback(_share, part, shared)
            own = stack.enter_context(open(os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "r+b"))
            for block in _exactly(file, blob.start):
                own.write(block)
            own.flush()
            file = own
        if os.fstat(file.fileno()).st_size < blob.start:
            raise AgentError("mismatch", "%s is shorter than it was" % part)
        file.truncate(blob.start)
        yield part, file


def _share(own: str, shared: str) -> None:
    """Where a copy came to nothing and holds more than what it was made from, the next attempt goes on from it."""
    if (regular_bytes(own) or 0) > (regular_bytes(shared) or 0):
        os.replace(own, shared)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(own)
