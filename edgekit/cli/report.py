"""``edgekit report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from edgekit.cli.debug import print_explanation
from edgekit.cli.output import Answer, Page, json_option
from edgekit.cli.reports import print_report
from edgekit.cli.root import Command
from edgekit.pages.saved import Saved, SavedReport, read_saved
from edgekit.report import worst

__all__ = ["report"]


@click.command(cls=Command)
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
def report(paths: tuple[Path, ...]) -> Answer:
    """Show saved reports, and exit as their verdicts say.

    A FILE is what a probe has kept, a bundle, whose build's report is inside, or what edgekit debug --json printed.
    """
    found = [read_saved(path) for path in paths]

    def text(page: Page) -> None:
        for saved in found:
            _print(page, saved)

    return Answer({"reports": [_plain(saved, path) for saved, path in zip(found, paths, strict=True)]}, text, _code(found))


def _print(page: Page, saved: Saved) -> None:
    if isinstance(saved, SavedReport):
        print_report(page, saved.report)
    else:
        print_explanation(page, saved.network, saved.target, saved.explanation)


def _plain(saved: Saved, path: Path) -> dict[str, Any]:
    if isinstance(saved, SavedReport):
        return {"path": str(path), "report": msgspec.to_builtins(saved.report)}
    return {"path": str(path), "explanation": msgspec.to_builtins(saved.explanation)}


def _code(found: list[Saved]) -> int:
    """Return the gravest exit code: a failed gate outweighs what nothing can be concluded from."""
    codes = {worst(saved.report) for saved in found if isinstance(saved, SavedReport)}
    return 1 if 1 in codes else max(codes, default=0)
