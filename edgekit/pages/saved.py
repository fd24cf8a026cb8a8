"""``SavedReport`` and ``SavedExplanation``: a file that a page is made of, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from edgekit.bundle import open_bundle
from edgekit.errors import InputError
from edgekit.explanation import Explanation
from edgekit.parse import from_json
from edgekit.report import Report, decode_report

__all__ = ["Saved", "SavedExplanation", "SavedReport", "read_saved"]


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


Saved = SavedReport | SavedExplanation


class _Schema(msgspec.Struct, frozen=True):
    schema: str


class _Debug(msgspec.Struct, frozen=True):
    """What ``edgekit debug --json`` prints; its other keys are passed over."""

    schema: Literal["edgekit.debug/1"]
    name: str
    target: str
    explanation: Explanation


def read_saved(path: Path) -> Saved:
    """Read a report, the report inside a bundle, or what ``edgekit debug --json`` printed.

    Raises
    ------
    InputError
        The file cannot be read, or is none of them.
    """
    if path.suffix == ".edge" or path.is_dir():
        with open_bundle(path) as bundle:
            return SavedReport(path.name, decode_report(bundle.read("report.json"), f"{path}:report.json"))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", fix="edgekit probe latency prints where it keeps its report") from error
    if _schema(data) == "edgekit.debug/1":
        found = from_json(data, _Debug, str(path))
        return SavedExplanation(path.name, found.name, found.target, found.explanation)
    return SavedReport(path.name, decode_report(data, str(path)))


def _schema(data: bytes) -> str | None:
    """Return what a document calls itself; None of one that `decode_report` will refuse anyway."""
    try:
        return msgspec.json.decode(data, type=_Schema).schema
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
