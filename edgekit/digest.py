"""Digests and durable files: how bytes get a name, and how a file appears whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edgekit.errors import InputError

__all__ = ["atomic_file", "check_folder", "fsync_folder", "make_folder", "sha256_bytes", "sha256_file", "sha256_stream", "write_atomic"]

_BLOCK_BYTES = 1 << 20


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file; memory stays flat."""
    with path.open("rb") as file:
        return sha256_stream(file)


def sha256_stream(file: IO[bytes]) -> str:
    """Return the SHA-256 of what is left in an open file."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def fsync_folder(path: Path) -> None:
    """Make the names inside a folder durable; without it a rename may be lost in a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_file(path: Path, *, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Open a file to be written so that ``path`` holds either its old content or all of the new one.

    The bytes go to a private temporary file in the same folder, reach the disk, and are renamed when
    the block ends well. Missing parent folders are made.

    Raises
    ------
    InputError
        The folder cannot be written to, or the disk is full.
    """
    try:
        make_folder(path.parent)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                os.fchmod(file.fileno(), mode)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}", fix="name another place, or free some space") from error


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` as `atomic_file` does."""
    with atomic_file(path) as file:
        file.write(data)


def make_folder(path: Path) -> None:
    """Make a folder that can be written to, or find it so.

    Raises
    ------
    InputError
        It cannot be made, or not written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made: {error.strerror}", fix="name another folder") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written to", fix="name another folder")


def check_folder(path: Path) -> None:
    """Refuse a folder that `make_folder` would, and leave things as they are: for the time before long work.

    Raises
    ------
    InputError
        As `make_folder`.
    """
    was_there = path.exists()
    make_folder(path)
    if not was_there:
        path.rmdir()
