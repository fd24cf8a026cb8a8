"""Chunks of blobs: their lists, and where on this board each can be found. Used by `transfer`; the host writes the same lists.

The host decides where a file is cut; here lists are only read. ``chunks/<sha256>`` beside the blobs is a cache: what it says is verified
by the chunk's own digest when it is used.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import struct
from typing import Any, Iterable, List, NamedTuple, Tuple

from .disk import blob_path, fsync_path, make_folder, regular_bytes
from .wire import DIGEST, AgentError

__all__ = ["CHUNKS_MAX", "MARK_BYTES", "RECORD", "Chunk", "Place", "find", "forget", "from_text", "keep", "pack", "parse"]

# 16 bytes of SHA-256 name a chunk: enough among the bytes of one board; the whole blob's digest decides in the end.
RECORD, MARK_BYTES = struct.Struct(">16sI"), 16
CHUNKS_MAX, CHUNK_MAX_BYTES = 1 << 16, (1 << 31) - 1

Place = Tuple[str, int]  # a blob's digest, and where in it


class Chunk(NamedTuple):
    """A piece of a blob: the first half of its SHA-256, and its length."""

    mark: bytes
    size: int


def pack(chunks: Iterable[Chunk]) -> bytes:
    """Return a list as the bytes that travel and are kept."""
    return b"".join(RECORD.pack(*chunk) for chunk in chunks)


def parse(data: bytes, size: int) -> List[Chunk]:
    """Return a list whose chunks make up a blob of that size."""
    if len(data) % RECORD.size or len(data) > CHUNKS_MAX * RECORD.size:
        raise AgentError("usage", "a list of chunks has %d bytes" % len(data))
    chunks = [Chunk(*record) for record in RECORD.iter_unpack(data)]
    if sum(chunk.size for chunk in chunks) != size or not all(1 <= chunk.size <= CHUNK_MAX_BYTES for chunk in chunks):
        raise AgentError("usage", "the chunks do not make up a blob of %d bytes" % size)
    return chunks


def from_text(text: Any, what: str, limit_bytes: int) -> bytes:
    """Return bytes that a job carries in base64 (RFC 4648)."""
    try:
        if not isinstance(text, str) or len(text) > limit_bytes * 4 // 3 + 4:
            raise ValueError("no text, or too long")
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, binascii.Error) as error:
        raise AgentError("usage", "%s is not base64 of at most %d bytes: %s" % (what, limit_bytes, error)) from error


def list_path(root: str, digest: str) -> str:
    """Return where a blob's list is kept."""
    return os.path.join(root, "chunks", digest)


def keep(root: str, digest: str, chunks: List[Chunk]) -> None:
    """Keep a blob's list, for blobs to come; that of a single chunk would say nothing new."""
    if len(chunks) > 1:
        path = list_path(root, digest)
        temporary = os.path.join(make_folder(os.path.join(root, "incoming")), "%s.%d.list.part" % (digest, os.getpid()))
        make_folder(os.path.dirname(path))
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(pack(chunks))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):  # somebody else has just brought the same blob, and swept up
            os.replace(temporary, path)
        fsync_path(os.path.dirname(path))


def find(root: str, wanted: Iterable[bytes]) -> dict[bytes, Place]:
    """Return where chunks stand in blobs that are here, as far as the kept lists tell; a list that tells of nothing is removed."""
    left, found = set(wanted), {}  # type: Tuple[set[bytes], dict[bytes, Place]]
    folder = os.path.join(root, "chunks")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if not DIGEST.fullmatch(name):
            continue
        try:
            with open(os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                chunks = parse(file.read(CHUNKS_MAX * RECORD.size + 1), regular_bytes(blob_path(root, name)) or 0)
        except (AgentError, OSError):
            chunks = []
        if not chunks:
            forget(root, name)
        at = 0
        for mark, size in chunks:
            if mark in left:
                left.remove(mark)
                found[mark] = (name, at)
            at += size
        if not left:
            break
    return found


def forget(root: str, digest: str) -> None:
    """Remove a list that is not true."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(list_path(root, digest))
