"""``edgekit report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from edgekit.baseline import against as compare_reports
from edgekit.cli.compare import print_compared
from edgekit.cli.debug import print_explanation
from edgekit.cli.output import Answer, Page, json_option
from edgekit.cli.reports import print_against, print_report
from edgekit.cli.root import Call, Command
from edgekit.digest import write_atomic
from edgekit.errors import InputError, UsageError
from edgekit.pages.contents import contents
from edgekit.pages.html import html_page
from edgekit.pages.markdown import markdown as markdown_page
from edgekit.pages.plot import picture
from edgekit.pages.saved import Saved, SavedExplanation, SavedReport, read_saved
from edgekit.report import worst

__all__ = ["report"]


@click.command(cls=Command)
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), metavar="OUT", help="Write one self-contained HTML page of all.")
@click.option("--markdown", is_flag=True, help="Print Markdown for a pull request instead of plain text.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="OUT", help="Draw the raw series, as .png or .svg.")
@click.option("--against", type=click.Path(path_type=Path), metavar="OLD", help="Compare the one FILE with an older report.")
@click.option("--across", is_flag=True, help="Compare also what was not measured alike; the verdict says so.")
@json_option
def report(paths: tuple[Path, ...], html: Path | None, markdown: bool, plot: Path | None, against: Path | None, across: bool) -> Answer:
    """Show saved reports, and exit as their verdicts say.

    A FILE is what a probe has kept, a bundle, whose build's report is inside, or what edgekit debug --json or edgekit
    compare --json printed.
    """
    if markdown and click.get_current_context().ensure_object(Call).json:
        raise UsageError("--markdown and --json each want the output for themselves", fix="leave one of them out")
    if against:
        if html or markdown or plot:
            raise UsageError("--against prints a comparison, and makes no page, Markdown or plot")
        return _against(paths, against, across)
    if across:
        raise UsageError("--across says how to compare, and there is no --against")
    kind = plot.suffix.lower().removeprefix(".") if plot else "png"
    if kind not in ("png", "svg"):
        raise UsageError(f"--plot draws .png or .svg, and {plot} is neither", fix="--plot report.png")
    found = [read_saved(path) for path in paths]
    if html:
        write_atomic(html, html_page(contents(found)))
    if plot:
        _write_plot(plot, kind, found)

    def text(page: Page) -> None:
        if markdown:
            for line in markdown_page(contents(found)).splitlines():
                page.line(line)
            return
        for saved in found:
            _print(page, saved)
        for name, path in (("page", html), ("plot", plot)):
            if path:
                page.line(f"{name}  {path}")

    data = {
        "reports": [_plain(saved, path) for saved, path in zip(found, paths, strict=True)],
        "html": str(html) if html else None,
        "plot": str(plot) if plot else None,
    }
    return Answer(data, text, _code(found))


def _against(paths: tuple[Path, ...], older: Path, across: bool) -> Answer:
    """Compare the one report with an older one."""
    pair = [read_saved(path) for path in (*paths, older)]
    if len(pair) != 2 or not all(isinstance(saved, SavedReport) for saved in pair):
        raise UsageError("--against compares one report with one other", fix="edgekit report NEW --against OLD")
    new, old = (saved.report for saved in pair if isinstance(saved, SavedReport))
    found = compare_reports(new, old, across=across)
    code = 0 if all(verdict.outcome == "pass" for verdict in found.verdicts) else 8
    return Answer(msgspec.to_builtins(found), lambda page: print_against(page, found), code)


def _write_plot(path: Path, kind: str, found: Sequence[Saved]) -> None:
    charts = [chart for section in contents(found).sections for block in section.blocks for chart in block.charts]
    if not charts:
        raise InputError(f"{path}: no raw series to draw in these files", fix="draw a report of edgekit probe latency")
    write_atomic(path, picture(charts, kind))


def _print(page: Page, saved: Saved) -> None:
    if isinstance(saved, SavedReport):
        print_report(page, saved.report)
    elif isinstance(saved, SavedExplanation):
        print_explanation(page, saved.network, saved.target, saved.explanation)
    else:
        print_compared(page, saved.comparison)


def _plain(saved: Saved, path: Path) -> dict[str, Any]:
    if isinstance(saved, SavedReport):
        return {"path": str(path), "report": msgspec.to_builtins(saved.report)}
    if isinstance(saved, SavedExplanation):
        return {"path": str(path), "explanation": msgspec.to_builtins(saved.explanation)}
    return {"path": str(path), "comparison": msgspec.to_builtins(saved.comparison)}


def _code(found: Sequence[Saved]) -> int:
    """Return the gravest exit code: a failed gate outweighs what nothing can be concluded from."""
    codes = {worst(saved.report) for saved in found if isinstance(saved, SavedReport)}
    return 1 if 1 in codes else max(codes, default=0)
