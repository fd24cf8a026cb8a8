"""``SavedReport``, ``SavedExplanation`` and ``SavedComparison``: a file that a page is made of, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from edgekit.attribution import Compared
from edgekit.bundle import open_bundle
from edgekit.errors import InputError
from edgekit.explanation import Explanation
from edgekit.parse import from_json
from edgekit.report import Report, decode_report

__all__ = ["Saved", "SavedComparison", "SavedExplanation", "SavedReport", "read_saved"]

_FIGURE_MAX = 1e18
"""Thirty years in nanoseconds, an exabyte."""


@dataclass(frozen=True)
class SavedReport:
    """A report and the name of its file."""

    name: str
    report: Report


@dataclass(frozen=True)
class SavedExplanation:
    """An explanation, the name of its file, and the network and target it speaks of."""

    name: str
    network: str
    target: str
    explanation: Explanation


@dataclass(frozen=True)
class SavedComparison:
    """Where a loss comes from, and the name of the file that says so."""

    name: str
    comparison: Compared


Saved = SavedReport | SavedExplanation | SavedComparison


class _Schema(msgspec.Struct, frozen=True):
    schema: str


class _Debug(msgspec.Struct, frozen=True):
    """What ``edgekit debug --json`` prints; its other keys are passed over."""

    schema: Literal["edgekit.debug/1"]
    name: str
    target: str
    explanation: Explanation


def read_saved(path: Path) -> Saved:
    """Read a report, the report inside a bundle, or what ``edgekit debug --json`` or ``edgekit compare --json`` printed.

    Raises
    ------
    InputError
        The file cannot be read, or is none of them.
    """
    if path.suffix == ".edge" or path.is_dir():
        with open_bundle(path) as bundle:
            return _report(path.name, bundle.read("report.json"), f"{path}:report.json")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", fix="edgekit probe latency prints where it keeps its report") from error
    schema = _schema(data)
    if schema == "edgekit.compare/1":
        compared = from_json(data, Compared, str(path))
        _check(compared, str(path))
        return SavedComparison(path.name, compared)
    if schema == "edgekit.debug/1":
        found = from_json(data, _Debug, str(path))
        _check(found.explanation, str(path))
        return SavedExplanation(path.name, found.name, found.target, found.explanation)
    return _report(path.name, data, str(path))


def _report(name: str, data: bytes, where: str) -> SavedReport:
    report = decode_report(data, where)
    _check(report, where)
    return SavedReport(name, report)


def _check(found: Report | Explanation | Compared, where: str) -> None:
    """Refuse figures that no clock and no counter gives: JSON knows integers without an end, arithmetic does not."""
    if not _bounded(msgspec.to_builtins(found)):
        raise InputError(f"{where}: a figure in it is beyond all bounds", fix="measure again; nothing that edgekit writes looks so")


def _bounded(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_bounded, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_bounded, value))
    return not isinstance(value, (int, float)) or abs(value) < _FIGURE_MAX


def _schema(data: bytes) -> str | None:
    """Return what a document calls itself; None of one that `decode_report` will refuse anyway."""
    try:
        return msgspec.json.decode(data, type=_Schema).schema
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
