"""What this host has measured over time: figures and gates of its `edgekit ci` runs, in one SQLite file of the user's state folder.

Any number of processes may write and read at once: each run is one transaction, and who finds the file locked waits. A rollback journal,
no write-ahead log: that one cannot be switched on while another process has the file (sqlite.org/wal.html).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import platformdirs

from edgekit.digest import make_folder
from edgekit.errors import InputError
from edgekit.measurement import Measurement
from edgekit.runs.run import Run, exit_code

__all__ = ["Point", "points", "record"]

_VERSION = 1
_WAIT_S = 30.0
_TABLES = """
CREATE TABLE IF NOT EXISTS run (
    id TEXT PRIMARY KEY, time TEXT NOT NULL, app TEXT NOT NULL, target TEXT, device TEXT NOT NULL, release TEXT, revision TEXT,
    code INTEGER NOT NULL, seconds REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS figure (
    run TEXT NOT NULL REFERENCES run (id), step TEXT NOT NULL, name TEXT NOT NULL, value REAL, unit TEXT NOT NULL, n INTEGER NOT NULL,
    low REAL, high REAL, rule TEXT, simulated INTEGER NOT NULL, PRIMARY KEY (run, step, name)
);
CREATE TABLE IF NOT EXISTS gate (
    run TEXT NOT NULL REFERENCES run (id), step TEXT NOT NULL, name TEXT NOT NULL, outcome TEXT NOT NULL, text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS run_of_app ON run (app, device, time);
"""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of one run.

    Attributes
    ----------
    metric
        The step and the figure's name: ``latency.invoke_p99``.
    low, high
        Its bounds, where it has any.
    rule
        The rule that it broke; None for a valid one.
    simulated
        The device stood in for a board.
    code
        Exit code of the run.
    """

    run: str
    time: str
    app: str
    device: str
    release: str | None
    revision: str | None
    code: int
    metric: str
    value: float | None
    unit: str
    n: int
    low: float | None
    high: float | None
    rule: str | None
    simulated: bool


def record(run: Run, path: Path | None = None) -> None:
    """Remember a run that measured something on a board; one that did not leaves no figures to compare.

    Parameters
    ----------
    path
        The file; by default in the user's state folder (XDG Base Directory: ``$XDG_STATE_HOME``).

    Raises
    ------
    InputError
        The file cannot be written to, the disk is full, or it is none of ours.
    """
    if run.app is None or run.device is None or not any(step.measurements for step in run.steps):
        return
    key = secrets.token_hex(8)
    row = (key, run.time, run.app, run.target, run.device, run.release, run.revision, exit_code(run), run.seconds)
    figures = [(key, step.name, *_figure(one), step.simulated) for step in run.steps for one in step.measurements]
    gates = [(key, step.name, verdict.name, verdict.outcome, verdict.text) for step, verdict in run.verdicts]
    with _opened(path or _path(), write=True) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        connection.executemany("INSERT OR REPLACE INTO figure VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", figures)
        connection.executemany("INSERT INTO gate VALUES (?, ?, ?, ?, ?)", gates)
        connection.execute("COMMIT")


def points(app: str | None, device: str | None, metric: str | None, *, runs: int, path: Path | None = None) -> tuple[Point, ...]:
    """Return figures of past runs, the oldest first.

    Parameters
    ----------
    app, device
        None takes all.
    metric
        A step, or a step and a figure's name: ``latency`` or ``latency.invoke_p99``.
    runs
        Of each application and device, so many of the last.

    Raises
    ------
    InputError
        The file cannot be read, or is none of ours.
    """
    path = path or _path()
    if not path.exists() or not path.stat().st_size:  # whoever made it was killed before anything was in it
        return ()
    query = """
        SELECT run.id, time, app, device, release, revision, code, step || '.' || name, value, unit, n, low, high, rule, simulated
        FROM (SELECT *, row_number() OVER (PARTITION BY app, device ORDER BY time DESC, rowid DESC) AS age, rowid AS place FROM run) AS run
        JOIN figure ON figure.run = run.id
        WHERE age <= ? AND ifnull(app = ?, TRUE) AND ifnull(device = ?, TRUE) AND ifnull(step = ? OR step || '.' || name = ?, TRUE)
        ORDER BY time, place, figure.rowid
    """
    with _opened(path, write=False) as connection:
        rows = connection.execute(query, (runs, app, device, metric, metric)).fetchall()
    return tuple(Point(**dict(zip(Point.__struct_fields__, (*row[:-1], bool(row[-1])), strict=True))) for row in rows)


def _figure(one: Measurement) -> tuple[str, float | None, str, int, float | None, float | None, str | None]:
    low = _bound(one, "lower_ms", "low")
    return one.name, one.value, one.unit, one.n, low, _bound(one, "upper_ms", "high"), one.rule


def _bound(one: Measurement, *names: str) -> float | None:
    found = (one.details.get(name) for name in names)
    return next((float(value) for value in found if isinstance(value, (int, float))), None)


def _path() -> Path:
    return platformdirs.user_state_path("edgekit") / "history.sqlite"


@contextmanager
def _opened(path: Path, *, write: bool) -> Iterator[sqlite3.Connection]:
    """Open the file, made and private from its first byte where it is written to; every statement is its own transaction until BEGIN."""
    try:
        if write:
            make_folder(path.parent)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        with contextlib.closing(sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)) as connection:
            if connection.execute("PRAGMA user_version").fetchone()[0] not in (0, _VERSION):
                raise InputError(f"{path}: it was written by another release of edgekit", fix="use that one, or move the file away")
            if write:
                connection.executescript(_TABLES)
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            yield connection
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}", fix="set XDG_STATE_HOME to a folder of your own") from error
    except sqlite3.Error as error:
        fix = "free some space, or move the file away: a new one is begun"
        raise InputError(f"{path}: the history cannot be {'written' if write else 'read'}: {error}", fix=fix) from error
