"""A `Run` as Markdown, for a job's summary or a pull request. Called by ``edgekit ci``, which adds the probes' whole reports.

Words of devices and files are made harmless: they neither format, nor link, nor call anybody.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.printable import markdown_words
from edgekit.runs.junit import figure_words
from edgekit.runs.run import Run, Step, broken_rules, exit_code, outcome

__all__ = ["summary"]

_SIGNS = {"pass": "✅", "fail": "❌", "error": "❌", "invalid": "⚠️", "inconclusive": "⚠️", "not run": "▫️"}
_LEADS = {0: "every gate passed", 1: "a gate failed", 8: "nothing could be concluded"}


def summary(run: Run) -> str:
    """Return the text; it ends with a line feed."""
    return "\n".join(_lines(run)) + "\n"


def _lines(run: Run) -> Iterator[str]:
    code = exit_code(run)
    about = " · ".join(markdown_words(word) for word in (run.target, run.device, (run.release or "")[:12]) if word)
    yield f"### edgekit ci: {markdown_words(run.app or 'no application')} {about}"
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
        yield f"| {_SIGNS[how]} {how} | {markdown_words(step.name)} | {markdown_words(_story(step))} |"
        for verdict in step.verdicts:
            gate = markdown_words(f"{step.name}: {verdict.name}")
            yield f"| {_SIGNS[verdict.outcome]} {verdict.outcome} | {gate} | {markdown_words(verdict.text)} |"
    for step in run.steps:
        if step.measurements and not step.report:
            yield from _figures(step)
    for note in run.notes:
        yield ""
        yield f"- {markdown_words(note)}"


def _story(step: Step) -> str:
    parts = [step.message or f"{step.seconds:.1f} s", f"fix: {step.fix}" if step.fix else ""]
    parts += [f"not valid: {broken_rules(step)}"] if outcome(step) == "inconclusive" else []
    parts += [f"tried before: {retry.error}: {retry.message}" for retry in step.retries]
    return "; ".join(filter(None, parts))


def _figures(step: Step) -> Iterator[str]:
    yield ""
    yield f"<details><summary>{markdown_words(step.name)}</summary>"
    yield ""
    yield "| figure | value | samples |"
    yield "| --- | ---: | ---: |"
    for one in step.measurements:
        yield f"| {markdown_words(one.name)} | {markdown_words(figure_words(one))} | {one.n} |"
    yield ""
    yield "</details>"
