"""``Table``, ``Block``, ``Section``, ``Contents``: a page as plain values, which HTML and Markdown write down alike.

Words of devices and files stand in them as they came; whoever writes them down makes them harmless.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgekit.measurement import Outcome
from edgekit.pages.chart import Distribution, Timeline

__all__ = ["Block", "Contents", "Judged", "Row", "Section", "Table", "table"]


@dataclass(frozen=True)
class Row:
    """Cells, the first of which names the row.

    Attributes
    ----------
    mark
        Why its figures may not be believed; empty where they may.
    shares
        Column -> how long a bar behind that figure is, from 0 to 1.
    """

    cells: tuple[str, ...]
    mark: str = ""
    shares: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Rows under their columns.

    Attributes
    ----------
    words
        Which columns hold words, beside the first; the others hold figures and are set flush right.
    shown
        How many rows stand open; the rest can be unfolded.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    words: frozenset[int] = frozenset()
    note: str = ""
    shown: int = 24

    @property
    def mark(self) -> str:
        """What is wrong with every row alike; it then stands above them once."""
        marks = {row.mark for row in self.rows}
        return marks.pop() if len(marks) == 1 else ""


def table(title: str, columns: Sequence[str], rows: Sequence[Row], *, words: Iterable[str] = (), note: str = "", shown: int = 24) -> Table:
    """Make a table of the columns that say something in any row; ``words`` names those that hold words."""
    kept = [n for n, _ in enumerate(columns) if n == 0 or any(row.cells[n] not in ("", "–") for row in rows)]
    place = {old: new for new, old in enumerate(kept)}
    packed = [
        Row(tuple(row.cells[n] for n in kept), row.mark, {place[n]: share for n, share in row.shares.items() if n in place}) for row in rows
    ]
    wordy = frozenset(place[n] for n in kept if columns[n] in set(words))
    return Table(title, tuple(columns[n] for n in kept), tuple(packed), wordy, note, shown)


@dataclass(frozen=True)
class Block:
    """What one file has to say in a section."""

    source: str
    title: str = ""
    mark: str = ""
    charts: tuple[Distribution | Timeline, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """What all files have to say of one thing; ``intro`` tells how to read it."""

    key: str
    title: str
    intro: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Judged:
    """A verdict and the file it stands in."""

    outcome: Outcome
    name: str
    text: str
    source: str


@dataclass(frozen=True)
class Contents:
    """The whole page.

    Attributes
    ----------
    outcome
        The gravest of the verdicts; None where there is none.
    lead
        What became of the gates, in a sentence.
    simulated
        What stands in for the board, a sentence each.
    """

    title: str
    about: tuple[str, ...]
    outcome: Outcome | None
    lead: str
    simulated: tuple[str, ...]
    verdicts: tuple[Judged, ...]
    sections: tuple[Section, ...]
