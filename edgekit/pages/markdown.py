"""``markdown``: contents as GitHub-flavoured Markdown for a pull request. Verdicts first; figures and provenance can be unfolded.

Words of devices and files are made harmless: they neither format, nor link, nor call a user or an issue.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.pages.outline import Block, Contents, Row, Table
from edgekit.printable import markdown_words

__all__ = ["markdown"]

_SIGNS = {"pass": "✅", "fail": "❌", "invalid": "⚠️", "inconclusive": "⚠️"}


def markdown(found: Contents) -> str:
    """Return the text; it ends with a line feed."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Contents) -> Iterator[str]:
    yield f"### {markdown_words(found.title)} {' · '.join(markdown_words(part) for part in found.about)}"
    yield ""
    yield f"**{markdown_words(found.lead)}**"
    if found.verdicts:
        yield ""
        yield "| | verdict | why |"
        yield "| --- | --- | --- |"
        for verdict in found.verdicts:
            yield f"| {_SIGNS[verdict.outcome]} {verdict.outcome} | {markdown_words(verdict.name)} | {markdown_words(verdict.text)} |"
    for sentence in found.simulated:
        yield ""
        yield f"> **Simulated.** {markdown_words(sentence)}"
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
    heading = " · ".join(markdown_words(words) for words in (block.title, block.source) if words)
    yield ""
    yield f"**{heading}**" + (f" ⚠️ invalid: {markdown_words(block.mark)}" if block.mark else "")
    for table in block.tables:
        yield from _table(table, marked=bool(block.mark))
    for note in block.notes:
        yield ""
        yield markdown_words(note)


def _table(table: Table, *, marked: bool) -> Iterator[str]:
    columns = table.columns or ("",) * len(table.rows[0].cells)
    yield ""
    if table.title:
        yield f"{markdown_words(table.title)}:"
        yield ""
    yield _cells(columns)
    yield _cells(["---" if not number or number in table.words else "---:" for number in range(len(columns))], safe=False)
    for row in table.rows:
        yield _cells(_marked(row, marked))
    if table.note:
        yield ""
        yield markdown_words(table.note)


def _marked(row: Row, marked: bool) -> tuple[str, ...]:
    """Return a row's cells; what is invalid says so beside its name, unless it stands above already."""
    first, *others = row.cells
    return (f"{first} ⚠️ invalid: {row.mark}" if row.mark and not marked else first, *others)


def _cells(cells: tuple[str, ...] | list[str], *, safe: bool = True) -> str:
    return f"| {' | '.join(markdown_words(cell) if safe else cell for cell in cells)} |"
