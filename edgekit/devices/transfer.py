"""Blobs to a board: only the chunks it has nowhere, in one stream, going on where an earlier attempt broke off.

Everything that edgekit sends as a blob goes through `send`: releases, sample sets, wheels, sources of engines. What a board does with the
stream is in `edgekit.ondevice.transfer`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from edgekit.chunks import cut
from edgekit.devices import Progress
from edgekit.devices.session import AgentSession, silent
from edgekit.devices.stream import Gap, Stream
from edgekit.errors import DeployError, DeviceError
from edgekit.ondevice.chunks import Chunk, pack

__all__ = ["SPARE_BYTES", "Lacking", "Sent", "ask", "check_room", "send"]

_OFFER_TIMEOUT_S = 600.0
# A stream that is slower than this on the average is given up.
_RATE_MIN_BYTES_S = 8192
# Room left after it: a full disk breaks more than a deployment.
SPARE_BYTES = 16 << 20
# What the board has may have changed under us (another host, a damaged blob that it found): then it is asked again.
_ROUNDS_MAX = 4


class _Part(msgspec.Struct, frozen=True):
    sha256: str
    have_bytes: Annotated[int, msgspec.Meta(ge=0)]
    tail_bytes: Annotated[int, msgspec.Meta(ge=0)]
    tail_sha256: str
    needed: str


class _Offer(msgspec.Struct, frozen=True):
    missing: tuple[_Part, ...]
    free_bytes: Annotated[int, msgspec.Meta(ge=0)]
    links: bool


@dataclass(frozen=True)
class Lacking:
    """What a board lacks of some blobs.

    Attributes
    ----------
    bytes_to_send
        What must travel, before compression.
    bytes_to_write
        What they will take on its disk; a release whose files cannot be links to them takes its size once more.
    """

    gaps: tuple[Gap, ...]
    bytes_to_send: int
    bytes_to_write: int
    free_bytes: int


@dataclass(frozen=True)
class Sent:
    """What a transfer did: bytes of all blobs, those the board lacked, and those that went over the link for them."""

    bytes_total: int
    bytes_needed: int
    bytes_sent: int


def ask(session: AgentSession, blobs: Mapping[str, Path]) -> Lacking:
    """Ask a board what it lacks of blobs; nothing changes there.

    Parameters
    ----------
    blobs
        Files by their digests.

    Raises
    ------
    DeviceError
        The board's answer is none.
    """
    where = str(session.device.address)
    lists = {sha256: cut(path, sha256) for sha256, path in sorted(blobs.items())}
    listed = [_entry(sha256, chunks) for sha256, chunks in lists.items()]
    data = session.job("transfer.offer", timeout_s=_OFFER_TIMEOUT_S, blobs=listed)
    try:
        answer = msgspec.convert(data, _Offer)
        gaps = tuple(_gap(part, blobs[part.sha256], lists[part.sha256]) for part in answer.missing)
    except (msgspec.ValidationError, KeyError, ValueError) as error:
        raise DeviceError(f"{where}: the answer to transfer.offer is malformed: {error}") from error
    rest = sum(sum(chunk.size for chunk in gap.chunks) - gap.start for gap in gaps)
    copies = 0 if answer.links else sum(sum(chunk.size for chunk in chunks) for chunks in lists.values())
    to_send = sum(count for gap in gaps for _, count in gap.pieces())
    return Lacking(gaps=gaps, bytes_to_send=to_send, bytes_to_write=rest + copies, free_bytes=answer.free_bytes)


def send(
    session: AgentSession,
    blobs: Mapping[str, Path],
    *,
    lacking: Lacking | None = None,
    app: str | None = None,
    release: str | None = None,
    deployment: str | None = None,
    more_bytes: int = SPARE_BYTES,
    rate_bytes_s: int | None = None,
    progress: Progress = silent,
) -> Sent:
    """Bring blobs to a board, each verified there; what an earlier attempt has brought is not sent again.

    Parameters
    ----------
    blobs
        Files by their digests.
    lacking
        What the board has just said that it lacks of them, over this very link; None: it is asked.
    app, release, deployment
        For the board's journal, where they are those of a release.
    more_bytes
        Room that must be free there beyond the blobs.
    rate_bytes_s
        At most so much goes over the link; None: as fast as it can.
    progress
        Told the bytes that the board has written.

    Raises
    ------
    DeployError
        No room, or the bytes that arrived are not those of the files.
    LinkError
        The connection broke; the next attempt goes on from there.
    """
    total = sum(path.stat().st_size for path in blobs.values())
    needed = sent = 0
    for rounds_left in range(_ROUNDS_MAX - 1, -1, -1):
        lacking = lacking or ask(session, blobs)
        if not lacking.gaps:
            break
        check_room(session, lacking, more_bytes)
        needed += lacking.bytes_to_send
        stream = Stream(lacking.gaps, rate_bytes_s=rate_bytes_s, pack=not session.device.address.is_local)
        slowest = min(_RATE_MIN_BYTES_S, rate_bytes_s or _RATE_MIN_BYTES_S)
        try:
            session.job(
                "transfer.take",
                timeout_s=_OFFER_TIMEOUT_S + 2 * lacking.bytes_to_send / slowest,
                progress=progress,
                payload=stream,
                blobs=[
                    {**_entry(gap.sha256, gap.chunks), "start": gap.start, "needed": base64.b64encode(gap.needed).decode("ascii")}
                    for gap in lacking.gaps
                ],
                app=app,
                release=release,
                deployment=deployment,
            )
        except DeployError:
            if not rounds_left:
                raise
            lacking = None
        else:
            break
        finally:
            sent += stream.sent
    return Sent(bytes_total=total, bytes_needed=needed, bytes_sent=sent)


def _entry(sha256: str, chunks: tuple[Chunk, ...]) -> dict[str, Any]:
    size = sum(chunk.size for chunk in chunks)
    return {"sha256": sha256, "bytes": size, "chunks": base64.b64encode(pack(chunks)).decode("ascii")}


def _gap(part: _Part, path: Path, chunks: tuple[Chunk, ...]) -> Gap:
    """Check what the board says of a blob, and its unfinished chunk against our own bytes."""
    needed = base64.b64decode(part.needed, validate=True)
    size = sum(chunk.size for chunk in chunks)
    if len(needed) != (len(chunks) + 7) // 8 or part.have_bytes + part.tail_bytes > size:
        raise ValueError(f"{part.sha256[:12]}: sizes that cannot be")
    start = part.have_bytes
    if part.tail_bytes:
        with path.open("rb") as file:
            file.seek(start)
            if hashlib.sha256(file.read(part.tail_bytes)).hexdigest() == part.tail_sha256:
                start += part.tail_bytes
    return Gap(sha256=part.sha256, path=path, chunks=chunks, start=start, needed=needed)


def check_room(session: AgentSession, lacking: Lacking, more_bytes: int = SPARE_BYTES) -> None:
    """Refuse what would fill the board's disk: nothing has been sent yet.

    Raises
    ------
    DeployError
        With what is free and what is needed.
    """
    need = lacking.bytes_to_write + more_bytes
    if lacking.free_bytes < need:
        raise DeployError(
            f"{session.device.address}: {lacking.free_bytes >> 20} MiB free, {need >> 20} MiB needed "
            f"({lacking.bytes_to_write >> 20} MiB to write, {more_bytes >> 20} MiB beside it); nothing was sent",
            fix="free some space on the board",
        )
