"""A report as text: its heading, its figures, its verdicts."""

from __future__ import annotations

from edgekit.cli.output import Page
from edgekit.report import Measurement, Report

__all__ = ["print_report"]

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
    for verdict in report.verdicts:
        page.line((verdict.outcome.upper(), f"{_COLOURS[verdict.outcome]} bold"), f" {verdict.name}: {verdict.text}")


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
    if measurement.rule:
        words.append(f"invalid: {measurement.rule}")
    return ", ".join(words)
