"""How data is shown: a command returns an `Answer`, the boundary writes it as text or as one JSON document.

Rich is known here alone. Everything said to people goes through `Page`, which takes words for words:
there is no markup, and no control character of a device, a bundle or a path reaches the terminal.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TextIO, TypeVar

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from edgekit.cli.root import Call
from edgekit.ondevice.wire import SENT_STAGE
from edgekit.printable import printable

__all__ = ["Answer", "Page", "json_option", "megabytes", "progress_bars", "render", "say"]

F = TypeVar("F", bound=Callable[..., Any])

# Wider than any row: where there is no terminal, nothing wraps.
_ENDLESS = 1_000_000


class Page:
    """Text for people on one stream.

    On a terminal it is styled and as wide as that; long cells fold, none is cut. Elsewhere each row is
    one line. ``NO_COLOR`` is honoured.

    Parameters
    ----------
    stream
        Where the text will go; None when that is closed.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._terminal = stream is not None and stream.isatty()
        self._console = Console(
            file=io.StringIO(),
            force_terminal=True if self._terminal else None,
            width=None if self._terminal else _ENDLESS,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def line(self, *parts: str | tuple[str, str]) -> None:
        """Add a line: words, or pairs of words and a Rich style."""
        pairs = [(part, "") if isinstance(part, str) else part for part in parts]
        # The terminal wraps better than we could: a path or a command that it wraps can still be copied whole.
        self._console.print(Text.assemble(*((printable(words), style) for words, style in pairs)), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add rows under their columns."""
        self._grid(Table(*(Column(name, overflow="fold") for name in columns), box=box.SIMPLE, pad_edge=False, show_edge=False), rows)

    def pairs(self, rows: Sequence[tuple[str, str]]) -> None:
        """Add keys with their values."""
        columns = (Column(overflow="fold"), Column(overflow="fold"))
        self._grid(Table(*columns, box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0)), rows)

    def _grid(self, grid: Table, rows: Sequence[Sequence[str]]) -> None:
        for row in rows:
            grid.add_row(*map(printable, row))
        self._console.print(grid)

    def text(self) -> str:
        """Return what was added, each line without the blanks that fill a column."""
        file = self._console.file
        assert isinstance(file, io.StringIO)
        return "".join(f"{line.rstrip()}\n" for line in file.getvalue().split("\n")[:-1])


@dataclass(frozen=True)
class Answer:
    """What a command has found.

    Attributes
    ----------
    data
        What the JSON document holds beside ``schema`` and ``ok``; plain values.
    text
        Says the same to people.
    code
        The exit code; anything but 0 is a verdict.
    """

    data: Mapping[str, Any]
    text: Callable[[Page], None]
    code: int = 0


def render(text: Callable[[Page], None], stream: TextIO | None) -> str:
    """Return a text as it should look on a stream."""
    page = Page(stream)
    text(page)
    return page.text()


def say(text: Callable[[Page], None]) -> None:
    """Tell people something beside the data, on stderr; where that cannot be written, nobody is listening."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(render(text, sys.stderr))
            sys.stderr.flush()


def json_option(function: F) -> F:
    """Add ``--json``: exactly one document on stdout, also on failure."""

    def note(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        ctx.ensure_object(Call).json = value

    option = click.option("--json", is_flag=True, is_eager=True, expose_value=False, callback=note, help="Print one JSON document.")
    return option(function)


def megabytes(count: float) -> str:
    """Return a byte count for people: decimal units, three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}" if count < 100 else f"{count:.0f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


class _HowFar(ProgressColumn):
    """Steps as ``3/7``; what is sent as bytes, with how quickly they arrive and the time left."""

    def render(self, task: Task) -> Text:
        if task.description != SENT_STAGE:
            return Text(f"{task.completed:.0f}/{task.total or 0:.0f}")
        words = f"{megabytes(task.completed)} of {megabytes(task.total or 0)}"
        if task.finished or not task.speed:
            return Text(words)
        left = timedelta(seconds=round(task.time_remaining or 0))
        return Text(f"{words}, {megabytes(task.speed)}/s, {left} left")


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show the pipeline's progress as bars, one per stage, on a stderr that is a terminal; else nothing."""
    listening = sys.stderr is not None and sys.stderr.isatty()
    columns = (TextColumn("{task.description:<24}", markup=False), BarColumn(bar_width=30), _HowFar(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not listening) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(printable(stage), total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield progress
