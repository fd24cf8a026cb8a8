"""``Run``: what one ``edgekit ci`` did, step by step, and the one exit code that it comes to.

`edgekit.pipeline.ci` makes it; `junit`, `annotation` and `summary` beside this file say the same in the words of others,
`edgekit.pipeline.history` remembers it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgekit.measurement import Measurement, Verdict

__all__ = ["PRECEDENCE", "Retry", "Run", "Step", "StepOutcome", "broken_rules", "exit_code", "outcome"]

StepOutcome = Literal["pass", "inconclusive", "error", "not run"]

PRECEDENCE = (7, 130, 143, 70, 1, 2, 3, 4, 6, 5, 9, 124, 8, 0)
"""Exit codes, the worst first: docs/ci.md argues the order."""
_BUG = 70


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An attempt that failed for the sake of the board or the link, and was made again."""

    error: str
    message: str
    seconds: float


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One step of a run.

    Attributes
    ----------
    name
        ``lease``, ``build``, ``deploy``, ``restore``, ``release``, or a probe's.
    probe
        Whether it measured on the board.
    code
        The exit code that this step alone would have had; None for one that was not run.
    error
        Class of the error that ended it, one of `edgekit.errors` or ``Interrupted``; ``message`` and ``fix`` are its.
    retries
        What went before, in order.
    verdicts, measurements
        What a build or a probe has found; ``simulated`` as in a `Report`.
    report
        Where the whole report is kept.
    """

    name: str
    probe: bool = False
    code: int | None = 0
    error: str | None = None
    message: str | None = None
    fix: str | None = None
    seconds: float = 0.0
    retries: tuple[Retry, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    simulated: bool = False
    report: str | None = None


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of it.

    Attributes
    ----------
    app, target, device, address, release
        What ran on what; None for what was not known when the run ended.
    revision
        Of the source, where the CI service tells it.
    time
        When it began: ISO 8601, UTC.
    notes
        What a reader should know beside: none of it changes the exit code.
    """

    schema: Literal["edgekit.run/1"] = "edgekit.run/1"
    app: str | None
    target: str | None
    device: str | None
    address: str | None
    release: str | None
    revision: str | None
    time: str
    seconds: float
    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()

    @property
    def verdicts(self) -> tuple[tuple[Step, Verdict], ...]:
        """Every gate that was asked, with its step."""
        return tuple((step, verdict) for step in self.steps for verdict in step.verdicts)


def exit_code(run: Run) -> int:
    """Return the exit code a run comes to: the worst of its steps', by `PRECEDENCE`.

    A run that ended well without one gate that passed on the board has shown nothing: 8.
    """
    codes = {step.code if step.code in PRECEDENCE else _BUG for step in run.steps if step.code is not None}
    worst = next((code for code in PRECEDENCE if code in codes), 8)
    shown = any(step.probe and verdict.outcome == "pass" for step, verdict in run.verdicts)
    return 8 if worst == 0 and not shown else worst


def outcome(step: Step) -> StepOutcome:
    """Return how a step itself came out, its gates aside: an error is the infrastructure's or the project's, never a verdict."""
    if step.code is None:
        return "not run"
    if step.error is not None:
        return "error"
    if all(verdict.outcome == "pass" for verdict in step.verdicts) and not all(measurement.valid for measurement in step.measurements):
        return "inconclusive"  # which no gate of its own says, while the exit code does
    return "pass"


def broken_rules(step: Step) -> str:
    """Return the rules that a step's figures broke, for people."""
    return ", ".join(sorted({str(measurement.rule) for measurement in step.measurements if not measurement.valid}))
