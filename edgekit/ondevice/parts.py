"""The unfinished files of blobs: ``incoming/<sha256>.part``, or ``incoming/<sha256>.<pid>.part`` where another agent fills that one.

A part grows from its first byte to its last: its length says where to go on, whatever broke; the chunks' digests say how far it is sound.
Used by `transfer`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from typing import Any, BinaryIO, Iterator, List, NamedTuple

from .chunks import CHUNKS_MAX, MARK_BYTES, RECORD, Chunk, from_text, parse
from .disk import fsync_path, regular_bytes
from .store import BLOB_MAX_BYTES, FILES_MAX
from .wire import DIGEST, AgentError, integer, matching

__all__ = ["BLOCK_BYTES", "Blob", "become", "blobs_of", "blocks", "can_link", "opened", "sound"]

BLOCK_BYTES = 1 << 18


class Blob(NamedTuple):
    """A blob that shall be here. ``start`` and ``needed`` come with `take`: where the stream goes on, which chunks are in it."""

    digest: str
    size: int
    chunks: List[Chunk]
    start: int
    needed: List[bool]


def blobs_of(job: dict[str, Any]) -> List[Blob]:
    """Return the blobs of a job, checked."""
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


def sound(part: str, blob: Blob) -> tuple[int, int, int, str]:
    """Return how many chunks of a part are sound, and their bytes; how many bytes of the next follow, and the SHA-256 of these.

    Whether those are sound only the host can tell.
    """
    if regular_bytes(part) is None:
        return 0, 0, 0, ""
    with open(os.open(part, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        at = 0
        for number, (mark, size) in enumerate(blob.chunks):
            digest, count = hashlib.sha256(), 0
            for block in blocks(file, size):
                digest.update(block)
                count += len(block)
            if count < size:
                return number, at, count, digest.hexdigest()
            if digest.digest()[:MARK_BYTES] != mark:
                return number, at, 0, ""
            at += size
        return len(blob.chunks), at, 0, ""


def can_link(folder: str) -> bool:
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


def blocks(file: BinaryIO, count: int) -> Iterator[bytes]:
    """Yield the next so many bytes of a file, or what there is of them: a digest will tell."""
    while count:
        block = file.read(min(count, BLOCK_BYTES))
        if not block:
            return
        count -= len(block)
        yield block


@contextlib.contextmanager
def opened(root: str, blob: Blob) -> Iterator[tuple[str, BinaryIO]]:
    """Open a blob's part for us alone, its first ``start`` bytes in place; where somebody else fills it, a copy of our own.

    Who fills it may be another host, or the agent of a link that broke without its noticing.
    """
    shared = part = os.path.join(root, "incoming", blob.digest + ".part")
    if blob.start and regular_bytes(part) is None:
        raise AgentError("mismatch", "%s is here no more" % part)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            part = os.path.join(root, "incoming", "%s.%d.part" % (blob.digest, os.getpid()))
            stack.callback(_share, part, shared)
            own = stack.enter_context(open(os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "r+b"))
            for block in blocks(file, blob.start):
                own.write(block)
            own.flush()
            file = own
        if os.fstat(file.fileno()).st_size < blob.start:
            raise AgentError("mismatch", "%s is shorter than it was" % part)
        file.truncate(blob.start)
        yield part, file


def _share(own: str, shared: str) -> None:
    """Where a copy came to nothing and holds more than what it was made from, the next attempt goes on from it."""
    with _alone(os.path.dirname(shared)):
        if (regular_bytes(own) or 0) > (regular_bytes(shared) or 0):
            os.replace(own, shared)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(own)


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Keep others from giving parts other names, for a moment."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def become(part: str, file: BinaryIO, path: str, blob: Blob) -> None:
    """Give a part that is whole and durable its blob's name, and sweep up what others have of it: they find the blob here."""
    folder = os.path.dirname(part)
    with _alone(folder):
        try:
            ours = os.path.samestat(os.lstat(part), os.fstat(file.fileno()))
        except FileNotFoundError:
            ours = False
        if ours:
            os.replace(part, path)
            os.fchmod(file.fileno(), 0o444)  # releases share the blob by hard links: nobody should write through one
        elif regular_bytes(path) != blob.size:  # while we stood still somebody went on from a copy, and broke off
            raise AgentError("mismatch", "another agent has taken %s over" % part)
        fsync_path(os.path.dirname(path))
        for name in os.listdir(folder):
            if name.startswith(blob.digest):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, name))
    fsync_path(folder)
