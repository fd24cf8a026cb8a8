"""``edgekit report``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from edgekit.bundle import open_bundle
from edgekit.cli.output import json_option, show
from edgekit.cli.reports import print_report
from edgekit.errors import InputError
from edgekit.report import decode_report, worst

__all__ = ["report"]


@click.group()
def report() -> None:
    """Show a saved report."""


@report.command("show")
@click.argument("path", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def show_report(ctx: click.Context, path: Path, as_json: bool) -> None:
    """Show a report file, or the report inside a bundle, and exit as its verdicts say."""
    if path.suffix == ".edge" or path.is_dir():
        with open_bundle(path) as bundle:
            found = decode_report(bundle.read("report.json"), f"{path}:report.json")
    else:
        try:
            found = decode_report(path.read_bytes(), str(path))
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}", fix="edgekit probe prints where it keeps its report") from error
    code = worst(found)
    show("report", {"report": msgspec.to_builtins(found)}, as_json=as_json, ok=code == 0, text=lambda out: print_report(out, found))
    ctx.exit(code)
