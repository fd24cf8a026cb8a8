"""A `Run` as workflow commands of GitHub Actions, which become annotations of the job. Called by ``edgekit ci`` where it runs there.

GitHub shows ten of each kind per step (its documentation, "Workflow commands"); the worst come first here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from edgekit.runs.run import Run, Step, broken_rules, outcome

__all__ = ["workflow_commands"]

Level = Literal["error", "warning", "notice"]

# As @actions/core escapes them (packages/core/src/command.ts): data first, properties further.
_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY = {**_DATA, ":": "%3A", ",": "%2C"}


def workflow_commands(run: Run) -> tuple[str, ...]:
    """Return one line for each thing to be said, errors first."""
    found = [*_found(run)]
    return tuple(line for level in ("error", "warning", "notice") for kind, line in found if kind == level)


def _found(run: Run) -> Iterator[tuple[Level, str]]:
    for step in run.steps:
        if outcome(step) == "error":
            yield "error", _command("error", f"edgekit ci: {step.name}", _story(step))
        if outcome(step) == "inconclusive":
            yield "warning", _command("warning", f"edgekit ci: {step.name} invalid", f"not valid: {broken_rules(step)}")
        for verdict in step.verdicts:
            if verdict.outcome != "pass":
                level: Level = "error" if verdict.outcome == "fail" else "warning"
                yield level, _command(level, f"edgekit ci: {step.name}: {verdict.name} {verdict.outcome}", verdict.text)
    for note in run.notes:
        yield "notice", _command("notice", "edgekit ci", note)


def _story(step: Step) -> str:
    return f"{step.message}\nfix: {step.fix}" if step.fix else str(step.message)


def _command(level: Level, title: str, text: str) -> str:
    return f"::{level} title={_escaped(title, _PROPERTY)}::{_escaped(text, _DATA)}"


def _escaped(text: str, table: dict[str, str]) -> str:
    return "".join(table.get(letter, letter) for letter in text)
