"""A report as text: its heading, its figures, its verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgekit.baseline import Against, Change
from edgekit.cli.output import Page, megabytes
from edgekit.report import Measurement, Report, Verdict
from edgekit.trial import Trial, worthwhile

__all__ = ["print_against", "print_report"]

_NAMES_MAX = 3
_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "invalid": "yellow"}


def print_report(page: Page, report: Report) -> None:
    """Print a report for people: what was measured on what, each figure, each verdict."""
    where = f"on {report.device.name} ({report.device.address})" if report.device else "on this host"
    digest = f" {report.bundle.digest[:12]}" if report.bundle.digest else ""
    page.line((report.bundle.name, "bold"), f" for {report.bundle.target}{digest}, {where}")
    if report.simulated:
        board = report.environment.get("board", "this device")
        page.line((f"SIMULATED: {board} stands in for {report.bundle.target}; its times say nothing about the board", "yellow"))
    page.table(("measurement", "value", "n", "note"), [(m.name, figure(m), str(m.n), note(m)) for m in report.measurements])
    if report.float_nodes:
        page.line(f"{len(report.float_nodes)} nodes are kept out of INT8:")
        page.table(("nodes", "why"), [(_nodes(report, why, count), why) for why, count in Counter(report.float_nodes.values()).items()])
    if len(report.trials) > 1:
        page.line(f"What {len(report.trials)} trials found to choose from, cheapest first:")
        columns = ("kept in float32", "multiplications in float32", "artifact", "change", "at least", "disagreement", "budget")
        page.table(columns, [_trial(trial) for trial in worthwhile(report.trials)])
    _print_verdicts(page, report.verdicts)


def print_against(page: Page, found: Against) -> None:
    """Print what became of an older report's figures."""
    page.line((found.new.name, "bold"), f" for {found.new.target} {(found.new.digest or '')[:12]}, before {(found.old.digest or '')[:12]}")
    if found.differences:
        page.line(("ACROSS ENVIRONMENTS: the two were not measured alike", "yellow"))
        page.table(("", "now", "before"), [(one.key, one.new or "unknown", one.old or "unknown") for one in found.differences])
    page.table(("measurement", "now", "before", "change", "note"), [_change(one) for one in found.changes])
    _print_verdicts(page, found.verdicts)


def _change(one: Change) -> tuple[str, ...]:
    now, before = (figure(Measurement(one.name, value, one.unit, 1)) for value in (one.new, one.old))
    points = f"{100 * (one.new - one.old):+.2f} points" if one.unit == "1" and one.new is not None and one.old is not None else ""
    return (one.name, now, before, points if one.ratio is None else f"{one.ratio - 1:+.2%}", "" if one.valid else "not valid")


def _print_verdicts(page: Page, verdicts: Sequence[Verdict]) -> None:
    for verdict in verdicts:
        page.line((verdict.outcome.upper(), f"{_COLOURS[verdict.outcome]} bold"), f" {verdict.name}: {verdict.text}")


def _nodes(report: Report, why: str, count: int) -> str:
    """Name the nodes that share a reason, the first few of many."""
    names = [name for name, reason in report.float_nodes.items() if reason == why]
    return ", ".join(names[:_NAMES_MAX]) + (f" and {count - _NAMES_MAX} more" if count > _NAMES_MAX else "")


def _trial(trial: Trial) -> tuple[str, ...]:
    return (
        f"{len(trial.kept)} layers" if trial.kept else "none",
        f"{trial.float_macs:.1%}",
        megabytes(trial.artifact_bytes),
        f"{trial.delta:+.2%}",
        f"{trial.delta_low:+.2%}",
        f"{trial.disagreement:.2%}",
        trial.outcome,
    )


def figure(measurement: Measurement) -> str:
    """Return a measurement's value with its unit; a ratio as a percentage."""
    value = measurement.value
    if value is None:
        return "none"
    if measurement.unit == "1":
        return f"{100 * value:.2f} %"
    return f"{value:.3f} {measurement.unit}" if abs(value) < 1000 else f"{value:.0f} {measurement.unit}"


def note(measurement: Measurement) -> str:
    """Return what a reader must know beside the figure: its bound, or why it is not valid."""
    words = []
    details = measurement.details
    if isinstance(upper := details.get("upper_ms"), float):
        words.append(f"at most {upper:.3f} ms")
    elif needs := details.get("needs"):
        words.append(f"needs {needs} more for a bound")
    low, high = details.get("low"), details.get("high")
    if isinstance(low, float) and isinstance(high, float):
        words.append(f"{100 * low:.2f} .. {100 * high:.2f} %")
    if details.get("too_small") is True:
        words.append("too few samples")
    if measurement.rule:
        words.append(f"invalid: {measurement.rule}")
    return ", ".join(words)
