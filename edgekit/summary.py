"""A `Run` as Markdown, for a job's summary or a pull request. Called by ``edgekit ci``.

Words of devices and files are made harmless: they neither format, nor link, nor call anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgekit.junit import figure_words
from edgekit.printable import printable
from edgekit.run import Run, Step, exit_code, outcome

__all__ = ["summary"]

_SIGNS = {"pass": "✅", "fail": "❌", "error": "❌", "invalid": "⚠️", "inconclusive": "⚠️", "not run": "▫️"}
_LEADS = {0: "every gate passed", 1: "a gate failed", 8: "nothing could be concluded"}
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_FORMATS = re.compile(r"([\\`*_{}\[\]()#+!|~$])")
# What GitHub turns into mentions, issues and links is broken by a character without width.
_CALLS = re.compile(r"(@|#|://|\bGH-|www\.)", re.IGNORECASE)


def summary(run: Run) -> str:
    """Return the text; it ends with a line feed."""
    return "\n".join(_lines(run)) + "\n"


def _lines(run: Run) -> Iterator[str]:
    code = exit_code(run)
    about = " · ".join(_safe(word) for word in (run.target, run.device, (run.release or "")[:12]) if word)
    yield f"### edgekit ci: {_safe(run.app or 'no application')} {about}"
    yield ""
    yield f"**{_LEADS.get(code, 'the run did not end well')}** (exit code {code}, {run.seconds:.0f} s)"
    if any(step.simulated for step in run.steps):
        yield ""
        yield "> **Simulated.** The device stands in for a board: its answers count, its times do not."
    yield ""
    yield "| | step or gate | |"
    yield "| --- | --- | --- |"
    for step in run.steps:
        how = outcome(step)
        yield f"| {_SIGNS[how]} {how} | {_safe(step.name)} | {_safe(_story(step))} |"
        for verdict in step.verdicts:
            yield f"| {_SIGNS[verdict.outcome]} {verdict.outcome} | {_safe(step.name)}: {_safe(verdict.name)} | {_safe(verdict.text)} |"
    for step in run.steps:
        if step.measurements:
            yield from _figures(step)
    for note in run.notes:
        yield ""
        yield f"- {_safe(note)}"


def _story(step: Step) -> str:
    parts = [step.message or f"{step.seconds:.1f} s", f"fix: {step.fix}" if step.fix else ""]
    parts += [f"tried before: {retry.error}: {retry.message}" for retry in step.retries]
    return "; ".join(filter(None, parts))


def _figures(step: Step) -> Iterator[str]:
    yield ""
    yield f"<details><summary>{_safe(step.name)}</summary>"
    yield ""
    yield "| figure | value | samples |"
    yield "| --- | ---: | ---: |"
    for one in step.measurements:
        yield f"| {_safe(one.name)} | {_safe(figure_words(one))} | {one.n} |"
    yield ""
    yield "</details>"


def _safe(words: str) -> str:
    """Return words that show as they are."""
    text = "".join(_HTML.get(letter, letter) for letter in printable(words))
    return _CALLS.sub("\\1\N{ZERO WIDTH SPACE}", _FORMATS.sub(r"\\\1", text))
