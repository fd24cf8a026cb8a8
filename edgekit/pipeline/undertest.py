"""``UnderTest``: the release that a board runs, opened for a probe.

The bundle need not be at hand: the manifest and what else is needed are fetched from the board and checked
against the release's digest, which is the manifest's. Called by ``probe``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgekit.device import Device, Facts
from edgekit.devices import Connection, connect
from edgekit.devices.lease import leased
from edgekit.devices.session import AgentSession
from edgekit.digest import sha256_bytes
from edgekit.errors import DeviceError, UsageError
from edgekit.manifest import MANIFEST, MANIFEST_BYTES_MAX, FileEntry, Manifest
from edgekit.parse import from_json
from edgekit.pipeline import Progress
from edgekit.pipeline.fit import stands_in
from edgekit.pipeline.releases import ask_status
from edgekit.project import Project

__all__ = ["UnderTest", "under_test"]

T = TypeVar("T")


@dataclass(frozen=True)
class UnderTest:
    """The release under test, on a board that is leased for it.

    Attributes
    ----------
    digest
        The release's, which is its manifest's.
    threads
        Of the runtime.
    project, folder
        What the user's project declares, and where its paths start from.
    """

    connection: Connection
    session: AgentSession
    device: Device
    facts: Facts
    digest: str
    manifest: Manifest
    threads: int
    project: Project
    folder: Path

    @property
    def address(self) -> str:
        """The board's, for messages."""
        return str(self.device.address)

    @property
    def simulated(self) -> bool:
        """Whether its times say nothing about the board it stands for."""
        return stands_in(self.manifest.requires, self.facts)

    def job(
        self,
        name: str,
        *,
        timeout_s: float,
        progress: Progress,
        on_part: Callable[[dict[str, Any]], None] | None = None,
        **fields: Any,
    ) -> Any:
        """Run one of the agent's jobs on this release; the answer is as it came, and not to be trusted.

        Parameters
        ----------
        on_part
            For a job that answers in parts.

        Raises
        ------
        DeviceError
            The job failed there, or the board was lost.
        DeadlineError
            It did not end in time.
        """
        known = {"app": self.manifest.name, "release": self.digest, "threads": self.threads}
        return self.session.job(name, timeout_s=timeout_s, progress=progress, on_part=on_part, **{**known, **fields})

    def read(self, answer: object, kind: type[T], job: str) -> T:
        """Return an answer, or a part of one, as what it must be.

        Raises
        ------
        DeviceError
            It is something else.
        """
        try:
            return msgspec.convert(answer, kind)
        except msgspec.ValidationError as error:
            raise DeviceError(f"{self.address}: the answer to {job} is malformed: {error}", fix=f"edgekit deploy {self.address}") from error

    def fetch(self, entry: FileEntry) -> bytes:
        """Fetch one of the release's files.

        Raises
        ------
        DeviceError
            What came is not what the manifest lists.
        """
        place = f"apps/{self.manifest.name}/releases/{self.digest}/{entry.path}"
        return _fetch(self.connection, self.device, place, entry.sha256, max_bytes=entry.bytes)


@contextmanager
def under_test(device: Device, app: str | None, threads: int | None, project: Project, folder: Path, *, reason: str) -> Iterator[UnderTest]:
    """Open the current release of a board, under a lease.

    Parameters
    ----------
    app
        None takes the only application on the board.
    threads
        None takes the manifest's, but no more than the board has cores.
    reason
        What the lease says, before the release's name.

    Raises
    ------
    UsageError
        The board holds several applications and none was named, or not that one.
    BusyError
        Somebody else holds the board.
    DeviceError
        The board cannot be reached.
    """
    with connect(device) as connection, AgentSession(connection, device) as session:
        digest, name = _current(session, device, app)
        facts = session.facts()
        data = _fetch(connection, device, f"apps/{name}/releases/{digest}/{MANIFEST}", digest, max_bytes=MANIFEST_BYTES_MAX)
        manifest = from_json(data, Manifest, f"{device.address}:{name}/{MANIFEST}")
        threads = threads or min(manifest.threads, facts.cores)
        with leased(session, reason=f"{reason} {name} {digest[:12]}"):
            yield UnderTest(connection, session, device, facts, digest, manifest, threads, project, folder)


def _current(session: AgentSession, device: Device, app: str | None) -> tuple[str, str]:
    found = {a.name: a.current for a in ask_status(session, None).apps}
    if not found:
        raise UsageError(f"{device.address}: nothing is deployed there", fix=f"edgekit deploy {device.name}")
    if app is None and len(found) > 1:
        raise UsageError(f"{device.address}: which application? There are {', '.join(sorted(found))}", fix="name it with --app")
    name = app or next(iter(found))
    digest = found.get(name)
    if digest is None:
        raise UsageError(f"{device.address}: no current release of {name!r}", fix=f"known there: {', '.join(sorted(found))}")
    return digest, name


def _fetch(connection: Connection, device: Device, path: str, sha256: str, *, max_bytes: int) -> bytes:
    with tempfile.TemporaryDirectory(prefix="edgekit-fetch-") as scratch:
        local = Path(scratch) / "file"
        connection.get(f"{device.root}/{path}", local, max_bytes=max_bytes)
        data = local.read_bytes()
    if sha256_bytes(data) != sha256:
        raise DeviceError(f"{device.address}: {path} is damaged there", fix=f"edgekit deploy {device.name}")
    return data
