"""Leases from the host's side: a board is taken for a piece of work, or by hand for a while. Called by the pipeline."""

from __future__ import annotations

import contextlib
import getpass
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec

from edgekit.device import Device
from edgekit.devices import connect, keep
from edgekit.devices.keep import Kept
from edgekit.devices.session import AgentSession
from edgekit.errors import BusyError, DeployError, DeviceError, EdgekitError

__all__ = ["Forced", "Held", "Hold", "Holder", "hold", "leased", "release", "take"]

_TIMEOUT_S = 60.0
_TTL_S = 120.0
"""What a host that is gone leaves taken for that long at most; every job of one that lives begins it anew."""

_Words = Annotated[str, msgspec.Meta(max_length=256)]


class Holder(msgspec.Struct, frozen=True):
    """Who holds a board, why, and for how long still."""

    owner: _Words
    reason: _Words
    left_s: float


class Forced(msgspec.Struct, frozen=True):
    """A lease that somebody else ended: whose and why it was, by whom and when (UTC)."""

    time: _Words
    owner: _Words
    reason: _Words
    by: _Words


class Held(msgspec.Struct, frozen=True):
    """How a board's lease stands."""

    lease: Holder | None
    forced: Forced | None


@contextmanager
def leased(session: AgentSession, *, reason: str, needed: bool = True) -> Iterator[None]:
    """Hold a session's board for a block; its jobs then carry the lease. One taken by hand serves, and stays.

    A link that is lost, or a process that is killed, leaves the lease to run out; the same user's next `leased` takes it up again.

    Parameters
    ----------
    needed
        Without, a board whose disk cannot take the lease is worked on all the same, if nobody holds it: to go back is always allowed.

    Raises
    ------
    BusyError
        Somebody else holds the board, or another process of this user.
    DeployError
        The board's disk cannot take the lease.
    """
    if mine := keep.held(session.device):
        session.lease = mine
        yield
        return
    with keep.opened(session.device) as kept:
        known = kept.read()
        if known and known.by_hand:
            session.lease = known.token
            yield
            return
        token = known.token if known else secrets.token_hex(16)
        kept.write(Kept(token))
        try:
            _take(session, token, reason, _TTL_S, renews=True)
        except DeployError:
            if needed:
                raise
            yield
            return
        session.lease = token
        try:
            yield
        except EdgekitError:
            _give_back(session, token, kept)
            raise
        if not _give_back(session, token, kept):
            try:
                with connect(session.device) as connection, AgentSession(connection, session.device) as again:
                    _give_back(again, token, kept)
            except EdgekitError:
                return  # as after a lost link: what the block has found is not lost for it


def _give_back(session: AgentSession, token: str, kept: keep.Keep) -> bool:
    session.lease = None
    try:
        session.job("lease.release", timeout_s=_TIMEOUT_S, token=token)
    except EdgekitError:
        return False  # kept for the next command
    kept.write(None)
    return True


class Hold:
    """A board that this process holds over several pieces of work."""

    def __init__(self, device: Device, kept: keep.Keep, token: str | None, reason: str) -> None:
        self._device, self._kept, self._token, self._reason = device, kept, token, reason

    def extend(self, for_s: float) -> None:
        """Begin the lease's time anew: that long it lasts if this process dies. One taken by hand has its own.

        Raises
        ------
        BusyError
            Somebody else holds the board.
        DeviceError
            It cannot be reached.
        """
        if self._token:
            with connect(self._device) as connection, AgentSession(connection, self._device) as session:
                _take(session, self._token, self._reason, for_s, renews=True)

    def give_back(self) -> None:
        """End the lease; one taken by hand stays.

        Raises
        ------
        DeviceError
            The board cannot be told; the lease runs out by itself.
        """
        if self._token:
            with connect(self._device) as connection, AgentSession(connection, self._device) as session:
                session.job("lease.release", timeout_s=_TIMEOUT_S, token=self._token)
            self._kept.write(None)
            self._token = None


@contextmanager
def hold(device: Device, *, reason: str, for_s: float) -> Iterator[Hold]:
    """Hold a board for a block with several pieces of work in it: all this process does there goes under one lease.

    Other processes, those of the same user too, find it busy. It is given back in the end, as far as it can be reached, or before by
    `Hold.give_back`, which says why it cannot; a process that is killed leaves the lease to run out.

    Raises
    ------
    BusyError
        Somebody else holds the board, or another process of this user is at work on it.
    DeviceError
        It cannot be reached.
    """
    with keep.opened(device) as kept:
        known = kept.read()
        if known and known.by_hand:
            with keep.lent(device, known.token):
                yield Hold(device, kept, None, reason)
            return
        token = known.token if known else secrets.token_hex(16)
        kept.write(Kept(token))
        held = Hold(device, kept, token, reason)
        mine = True
        try:
            held.extend(for_s)
            with keep.lent(device, token):
                yield held
        except BusyError:
            mine = False
            raise
        finally:
            if mine:
                with contextlib.suppress(EdgekitError):  # the board is away: then it runs out
                    held.give_back()


def take(session: AgentSession, *, reason: str, for_s: float) -> Held:
    """Take a board by hand; commands of this user on this machine use that lease until it ends.

    Raises
    ------
    BusyError
        Somebody else holds it.
    """
    with keep.opened(session.device) as kept:
        known = kept.read()
        token = known.token if known else secrets.token_hex(16)
        answer = _take(session, token, reason, for_s, renews=False)
        kept.write(Kept(token, until_s=time.time() + for_s))
    return answer


def release(session: AgentSession, *, force: bool = False) -> Held:
    """End the lease this user has on a board; with ``force`` anybody's, which the board records.

    Raises
    ------
    BusyError
        It is somebody else's, or one of its own jobs still runs.
    """
    with keep.opened(session.device) as kept:
        known = kept.read()
        token = known.token if known else secrets.token_hex(16)
        session.lease = None
        held = _held(session, session.job("lease.release", timeout_s=_TIMEOUT_S, token=token, owner=_owner(), force=force))
        kept.write(None)
    return held


def show(session: AgentSession) -> Held:
    """Ask who holds a board."""
    return _held(session, session.job("lease.show", timeout_s=_TIMEOUT_S))


def _take(session: AgentSession, token: str, reason: str, ttl_s: float, *, renews: bool) -> Held:
    data = session.job("lease.take", timeout_s=_TIMEOUT_S, token=token, owner=_owner(), reason=reason, ttl_s=ttl_s, renews=renews)
    return _held(session, data)


def _held(session: AgentSession, data: dict[str, Any]) -> Held:
    try:
        return msgspec.convert(data, Held)
    except msgspec.ValidationError as error:
        raise DeviceError(f"{session.device.address}: its answer about the lease is malformed: {error}") from error


def _owner() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"[:200]
