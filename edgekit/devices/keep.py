"""What this user holds on boards: the tokens of leases, one private file per board in the user's state folder.

`edgekit.devices.lease` writes them, `edgekit.devices.session` sends those taken by hand with every job. The process that works under a
token keeps its file locked; the kernel unlocks it when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import platformdirs

from edgekit.device import Device
from edgekit.digest import make_folder, sha256_bytes
from edgekit.errors import BusyError, InputError

__all__ = ["Keep", "Kept", "by_hand", "held", "lent", "opened"]

_MAX_BYTES = 4096

_LENT: dict[Path, str] = {}
"""Tokens of the boards that this process holds over several pieces of work: they serve no other process."""


class Kept(msgspec.Struct, frozen=True):
    """A token; one taken by hand serves every command until the host's clock says ``until_s`` (Unix time)."""

    token: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
    until_s: float | None = None

    @property
    def by_hand(self) -> bool:
        """Whether it was taken by hand and its time is not up."""
        return self.until_s is not None and time.time() < self.until_s


class Keep:
    """The open, locked file of one board."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def read(self) -> Kept | None:
        """Return the token kept there, if any."""
        return _parse(os.pread(self._handle, _MAX_BYTES, 0))

    def write(self, kept: Kept | None) -> None:
        """Keep a token, or none. Written in place: the lock is on this very file."""
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, msgspec.json.encode(kept) if kept else b"", 0)
        os.fsync(self._handle)


def _path(device: Device) -> Path:
    name = sha256_bytes(f"{device.address}\0{device.root}".encode())[:32]
    return platformdirs.user_state_path("edgekit") / "leases" / f"{name}.json"


def _parse(data: bytes) -> Kept | None:
    try:
        return msgspec.json.decode(data, type=Kept)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # empty, or torn by a power cut: then the lease runs out by itself


@contextmanager
def lent(device: Device, token: str) -> Iterator[None]:
    """Let all that this process does on a board within the block go under one token; the caller has the file `opened`."""
    _LENT[_path(device)] = token
    try:
        yield
    finally:
        del _LENT[_path(device)]


def held(device: Device) -> str | None:
    """Return the token under which this process holds a board over several pieces of work."""
    return _LENT.get(_path(device))


def by_hand(device: Device) -> str | None:
    """Return the token of a lease that this user has taken on a board by hand, or that this process holds."""
    if token := held(device):
        return token
    try:
        kept = _parse(_path(device).read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{_path(device)}: cannot be read: {error.strerror}", fix="it must be this user's own file") from error
    return kept.token if kept and kept.by_hand else None


@contextmanager
def opened(device: Device) -> Iterator[Keep]:
    """Open the file of a board for one process alone.

    Raises
    ------
    BusyError
        Another process of this user is at work under it.
    """
    path = _path(device)
    make_folder(path.parent)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}", fix="it must be this user's own file") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"{device.address}: another edgekit of yours is at work on it from this machine", fix="wait until it is done"
            ) from None
        yield Keep(handle)
    finally:
        os.close(handle)
