"""``edgekit history``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from edgekit.cli.output import Answer, Page, json_option, say
from edgekit.cli.root import Command
from edgekit.cli.trend import Key, trend, trend_chart
from edgekit.digest import write_atomic
from edgekit.errors import UsageError
from edgekit.pipeline.export import FORMS, Exported, export, left_out
from edgekit.pipeline.history import Point, points

__all__ = ["history"]

_TREND_MAX = 40


@click.command(cls=Command)
@click.argument("app", required=False)
@click.option("--device", metavar="NAME", help="Only what was measured on this device.")
@click.option("--metric", metavar="NAME", help="Only this probe, latency, or this figure, latency.invoke_p99: each value on a line.")
@click.option("--runs", type=click.IntRange(1, 100_000), default=_TREND_MAX, show_default=True, help="How many of the last runs.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="OUT", help="Draw the course of each figure, as .svg.")
@click.option("--export", type=click.Choice(list(FORMS)), help="Print the newest figures in another tool's JSON instead.")
@click.option("--simulated", is_flag=True, help="Export those of emulated boards too; their names say so.")
@json_option
def history(
    app: str | None, device: str | None, metric: str | None, runs: int, plot: Path | None, simulated: bool, **more: str | None
) -> Answer:
    """Show what `edgekit ci` has measured on this host over time: each figure's newest value, its span, and its course.

    A figure that broke a rule counts for nothing: it has no value in the trend, and is marked. What is simulated is marked too, and is
    exported only on demand.
    """
    if plot and plot.suffix != ".svg":
        raise UsageError(f"--plot draws .svg, and {plot} is none", fix="--plot history.svg")
    found = points(app, device, metric, runs=runs)
    series = _series(found)
    if plot:
        write_atomic(plot, trend_chart(series).encode())
    if form := more["export"]:
        handed = export(found, form, simulated=simulated)
        if why := left_out(found, simulated=simulated):
            say(lambda page: page.line(("left out:", "yellow"), f" {why}"))
        return Answer({"export": handed}, lambda page: _print_json(page, handed))
    data = {"points": msgspec.to_builtins(found), "plot": str(plot) if plot else None}
    return Answer(data, lambda page: _print(page, found, series, bool(metric and "." in metric)))


def _series(found: Sequence[Point]) -> dict[Key, list[Point]]:
    series: dict[Key, list[Point]] = {}
    for point in found:
        series.setdefault((point.app, point.device, point.metric), []).append(point)
    return series


def _print_json(page: Page, handed: Exported) -> None:
    for line in json.dumps(handed, indent=1).splitlines():
        page.line(line)


def _print(page: Page, found: Sequence[Point], series: dict[Key, list[Point]], listed: bool) -> None:
    if not found:
        page.line("nothing was measured here yet: edgekit ci")
    if listed and found:
        page.table(("time", "application", "device", "value", "samples", "revision", "release", "note"), [_row(point) for point in found])
    if series:
        rows = [(*key, *_course(one)) for key, one in series.items()]
        page.table(("application", "device", "figure", "newest", "least", "most", "runs", "course"), rows)


def _row(point: Point) -> tuple[str, ...]:
    return (
        point.time,
        point.app,
        point.device,
        _words(point.value, point.unit),
        str(point.n),
        (point.revision or "")[:12],
        (point.release or "")[:12],
        _note(point),
    )


def _course(points: Sequence[Point]) -> tuple[str, ...]:
    newest, unit = points[-1], points[-1].unit
    values = [point.value for point in points if point.rule is None and point.value is not None]
    note = _note(newest)
    span = [_words(value, unit) for value in (min(values), max(values))] if values else ["", ""]
    return (f"{_words(newest.value, unit)}{f' ({note})' if note else ''}", *span, f"{len(values)}/{len(points)}", trend(points, _TREND_MAX))


def _note(point: Point) -> str:
    return ", ".join(filter(None, (f"invalid: {point.rule}" if point.rule else "", "simulated" if point.simulated else "")))


def _words(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.4g}" + ("" if unit == "1" else f" {unit}")
