"""What this host knows of its roll-outs: one SQLite file per application and group under the XDG state folder.

`edgekit.pipeline.rollout` writes each board's state before the next step is taken, so that a killed host leaves at most the boards that
were under way in doubt. One process at a time: who has the lock beside the file. SQLite's write-ahead log wants all its users on one
machine (sqlite.org/wal.html), and so does this lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import platformdirs

from edgekit.device import Device
from edgekit.digest import make_folder, sha256_bytes
from edgekit.errors import BusyError, InputError
from edgekit.pipeline.outcome import Outcome

__all__ = ["DONE", "FAILED", "RUNNING", "WAITING", "Ledger", "open_ledger"]

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"

_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS rollout (id TEXT PRIMARY KEY, bundle TEXT NOT NULL, begun_s REAL NOT NULL, ended_s REAL);
CREATE TABLE IF NOT EXISTS board (
    rollout TEXT NOT NULL REFERENCES rollout (id), name TEXT NOT NULL, address TEXT NOT NULL, state TEXT NOT NULL,
    begun_s REAL, ended_s REAL, outcome TEXT, PRIMARY KEY (rollout, name)
);
"""


class Ledger:
    """The open file. ``id`` is the roll-out under way, after `begin` or `resume`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.id = ""

    def begin(self, bundle: str, devices: Sequence[Device]) -> None:
        """Write down a new roll-out with all of its boards waiting; an unfinished one of the same bundle is given up."""
        self.id = secrets.token_hex(8)
        with self._connection as change:
            change.execute("UPDATE rollout SET ended_s = ? WHERE bundle = ? AND ended_s IS NULL", (time.time(), bundle))
            change.execute("INSERT INTO rollout (id, bundle, begun_s) VALUES (?, ?, ?)", (self.id, bundle, time.time()))
            self._add(devices)

    def resume(self, bundle: str, devices: Sequence[Device]) -> dict[str, str] | None:
        """Take up the last unfinished roll-out of a bundle; returns the states of those boards, None when there is no such roll-out.

        A board that has joined the group since, or has another address now, is waiting.
        """
        query = "SELECT id FROM rollout WHERE bundle = ? AND ended_s IS NULL ORDER BY begun_s DESC LIMIT 1"
        row = self._connection.execute(query, (bundle,)).fetchone()
        if row is None:
            return None
        self.id = row[0]
        query = "SELECT name, address, state FROM board WHERE rollout = ?"
        known = {(name, address): state for name, address, state in self._connection.execute(query, (self.id,))}
        states = {device.name: known.get((device.name, _place(device)), WAITING) for device in devices}
        with self._connection:
            self._add([device for device in devices if (device.name, _place(device)) not in known])
        return states

    def _add(self, devices: Sequence[Device]) -> None:
        rows = [(self.id, device.name, _place(device), WAITING) for device in devices]
        self._connection.executemany("INSERT OR REPLACE INTO board (rollout, name, address, state) VALUES (?, ?, ?, ?)", rows)

    def running(self, name: str) -> str:
        """Write down that a board is about to be touched; return what its deployment is called.

        One that was under way when the host was lost keeps its name: the board goes on with it.
        """
        with self._connection as change:
            line = "UPDATE board SET state = ?, begun_s = ?, ended_s = NULL WHERE rollout = ? AND name = ? AND state != ?"
            change.execute(line, (RUNNING, time.time(), self.id, name, RUNNING))
            (begun_s,) = change.execute("SELECT begun_s FROM board WHERE rollout = ? AND name = ?", (self.id, name)).fetchone()
        return sha256_bytes(f"{self.id} {name} {begun_s!r}".encode())[:16]

    def ended(self, name: str, outcome: Outcome) -> None:
        """Write down how a board came out."""
        with self._connection as change:
            change.execute(
                "UPDATE board SET state = ?, ended_s = ?, outcome = ? WHERE rollout = ? AND name = ?",
                (DONE if outcome.code == 0 else FAILED, time.time(), msgspec.json.encode(outcome).decode(), self.id, name),
            )

    def close(self) -> None:
        """Write down that all boards are done: nothing is left to resume."""
        with self._connection as change:
            change.execute("UPDATE rollout SET ended_s = ? WHERE id = ?", (time.time(), self.id))


def _place(device: Device) -> str:
    return f"{device.address} {device.root}"


@contextmanager
def open_ledger(app: str, to: str, folder: Path | None = None) -> Iterator[Ledger]:
    """Open the ledger of an application and a group for this process alone.

    Parameters
    ----------
    to
        The words that name the boards.
    folder
        Where ledgers are; by default the user's state folder (XDG Base Directory: ``$XDG_STATE_HOME``).

    Raises
    ------
    BusyError
        Another process on this machine rolls out to the same group.
    InputError
        The file cannot be written to, or is none of ours.
    """
    folder = folder or platformdirs.user_state_path("edgekit") / "rollouts"
    make_folder(folder)
    path = folder / f"{app}-{sha256_bytes(to.encode())[:16]}.sqlite"
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(os.fdopen(os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b"))
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))  # private from its first byte
        except OSError as error:
            raise InputError(f"{path}: cannot be opened: {error.strerror}", fix="set XDG_STATE_HOME to a folder of your own") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"another edgekit on this machine rolls out {app} to {to}", fix="wait until it is done") from None
        try:
            connection = stack.enter_context(contextlib.closing(sqlite3.connect(path)))
            # A commit is on the disk before the board is touched (sqlite.org/pragma.html: in WAL mode NORMAL would not sync it).
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            if connection.execute("PRAGMA user_version").fetchone()[0] not in (0, _VERSION):
                raise InputError(
                    f"{path}: it was written by another release of edgekit", fix="finish that roll-out with it, or delete the file"
                )
            connection.executescript(_TABLES)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
            yield Ledger(connection)
        except sqlite3.Error as error:
            raise InputError(
                f"{path}: {error}", fix="free some space, or delete the file: its roll-outs can then not be resumed"
            ) from error
