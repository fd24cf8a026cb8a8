"""``edgekit report``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from edgekit.bundle import open_bundle
from edgekit.cli.output import Answer, json_option
from edgekit.cli.reports import print_report
from edgekit.cli.root import Group
from edgekit.errors import InputError
from edgekit.report import decode_report, worst

__all__ = ["report"]


@click.group(cls=Group)
def report() -> None:
    """Show a saved report."""


@report.command("show")
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def show_report(path: Path) -> Answer:
    """Show a report file, or the report inside a bundle, and exit as its verdicts say."""
    if path.suffix == ".edge" or path.is_dir():
        with open_bundle(path) as bundle:
            found = decode_report(bundle.read("report.json"), f"{path}:report.json")
    else:
        try:
            found = decode_report(path.read_bytes(), str(path))
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}", fix="edgekit probe latency prints where it keeps its report") from error
    return Answer({"report": msgspec.to_builtins(found)}, lambda page: print_report(page, found), worst(found))
