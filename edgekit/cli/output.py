"""How data is shown: one JSON document on stdout with ``--json``, else text for people; progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

__all__ = ["console", "json_option", "megabytes", "progress_bars", "show", "table"]

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """Add ``--json``: exactly one document on stdout, also on failure."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def console() -> Console:
    """Return a console on stdout that wraps nothing when its output is not a terminal."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def show(command: str, data: dict[str, Any], *, as_json: bool, text: Callable[[Console], None], ok: bool = True) -> None:
    """Print a command's result.

    Parameters
    ----------
    command
        Names the document's schema: ``edgekit.<command>/1``.
    data
        What the document holds beside ``schema`` and ``ok``.
    text
        Prints the same for people.
    """
    if as_json:
        click.echo(msgspec.json.encode({"schema": f"edgekit.{command}/1", "ok": ok, **data}))
    else:
        text(console())


def table(out: Console, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows under their columns; numbers are the caller's business."""
    from rich import box
    from rich.table import Table

    grid = Table(*columns, box=box.SIMPLE, pad_edge=False, show_edge=False)
    for row in rows:
        grid.add_row(*row)
    out.print(grid)


def megabytes(count: float) -> str:
    """Return a byte count for people: decimal units, three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}" if count < 100 else f"{count:.0f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show the pipeline's progress as bars, one per stage, on a stderr that is a terminal; else nothing."""
    err = Console(stderr=True)
    columns = (TextColumn("{task.description:<24}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield progress
