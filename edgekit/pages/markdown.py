"""``markdown``: contents as GitHub-flavoured Markdown for a pull request. Verdicts first; figures and provenance can be unfolded.

Words of devices and files are made harmless: they neither format, nor link, nor call a user or an issue.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgekit.pages.outline import Block, Contents, Row, Table
from edgekit.printable import printable

__all__ = ["markdown"]

_SIGNS = {"pass": "✅", "fail": "❌", "invalid": "⚠️", "inconclusive": "⚠️"}
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_FORMATS = re.compile(r"([\\`*_{}\[\]()#+!|~$])")
# What GitHub turns into links, issues and mentions is broken by a character without width.
_CALLS = re.compile(r"(@|#|://|\bGH-|www\.)", re.IGNORECASE)


def markdown(found: Contents) -> str:
    """Return the text; it ends with a line feed."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Contents) -> Iterator[str]:
    yield f"### {_safe(found.title)} {' · '.join(_safe(part) for part in found.about)}"
    yield ""
    yield f"**{_safe(found.lead)}**"
    if found.verdicts:
        yield ""
        yield "| | verdict | why |"
        yield "| --- | --- | --- |"
        for verdict in found.verdicts:
            yield f"| {_SIGNS[verdict.outcome]} {verdict.outcome} | {_safe(verdict.name)} | {_safe(verdict.text)} |"
    for sentence in found.simulated:
        yield ""
        yield f"> **Simulated.** {_safe(sentence)}"
    for section in found.sections:
        blocks = [block for block in section.blocks if block.tables]
        if blocks:
            yield ""
            yield f"<details><summary>{section.title}</summary>"
            for block in blocks:
                yield from _block(block)
            yield ""
            yield "</details>"


def _block(block: Block) -> Iterator[str]:
    heading = " · ".join(_safe(words) for words in (block.title, block.source) if words)
    yield ""
    yield f"**{heading}**" + (f" ⚠️ invalid: {_safe(block.mark)}" if block.mark else "")
    for table in block.tables:
        yield from _table(table, marked=bool(block.mark))
    for note in block.notes:
        yield ""
        yield _safe(note)


def _table(table: Table, *, marked: bool) -> Iterator[str]:
    columns = table.columns or ("",) * len(table.rows[0].cells)
    yield ""
    if table.title:
        yield f"{_safe(table.title)}:"
        yield ""
    yield _cells(columns)
    yield _cells(["---" if not number or number in table.words else "---:" for number in range(len(columns))], safe=False)
    for row in table.rows:
        yield _cells(_marked(row, marked))
    if table.note:
        yield ""
        yield _safe(table.note)


def _marked(row: Row, marked: bool) -> tuple[str, ...]:
    """Return a row's cells; what is invalid says so beside its name, unless it stands above already."""
    first, *others = row.cells
    return (f"{first} ⚠️ invalid: {row.mark}" if row.mark and not marked else first, *others)


def _cells(cells: tuple[str, ...] | list[str], *, safe: bool = True) -> str:
    return f"| {' | '.join(_safe(cell) if safe else cell for cell in cells)} |"


def _safe(words: str) -> str:
    """Return words that show as they are."""
    text = "".join(_HTML.get(letter, letter) for letter in printable(words))
    return _CALLS.sub("\\1\N{ZERO WIDTH SPACE}", _FORMATS.sub(r"\\\1", text))
