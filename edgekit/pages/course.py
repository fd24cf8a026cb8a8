"""Latency over time, drawn, and below it what the board said of itself on the same axis. Called by ``plot``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgekit.pages.chart import Floats, Series, Timeline, envelope
from edgekit.pages.theme import LIGHT as COLOUR
from edgekit.pages.ticks import few_ticks, log_ticks, needs_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["board_lines", "draw_timeline"]

_DOTS_MAX = 40
"""Readings up to which each has its dot."""

_UNITS = (("hours", 3600.0, 3 * 3600.0), ("minutes", 60.0, 600.0), ("seconds", 1.0, -np.inf))
"""Unit, seconds in it, from how many seconds on it is used."""

Line = tuple[str, Floats, str]
"""Its name, its values, its colour."""


def draw_timeline(panels: list[Axes], chart: Timeline, width: int) -> None:
    """Draw the series into the first panel, what `board_lines` returns into the others."""
    times, *others = panels
    chart, unit = _scaled(chart)
    _times(times, chart, width)
    for axes, (label, lines) in zip(others, board_lines(chart), strict=True):
        _readings(axes, label, lines, chart.seconds)
    spans = _spans(chart)
    for begin, end in spans:
        for axes in panels:
            axes.axvspan(begin, end, color=COLOUR["slowed"], linewidth=0, zorder=0.5)
    if spans:
        begin, end = max(spans, key=lambda span: span[1] - span[0])
        place = {"xycoords": ("data", "axes fraction"), "xytext": (0, -12), "textcoords": "offset points"}
        times.annotate("slowed down", ((begin + end) / 2, 1), color=COLOUR["fail"], ha="center", **place)
    starts = [0.0, *(float(one.seconds[0]) for one in chart.series)]
    ends = [*(float(one.seconds[-1]) for one in chart.series), *map(float, chart.seconds)]
    low, high = min(starts), max(ends)
    panels[-1].set_xlim(low, high if high > low else low + 1.0)
    panels[-1].set_xlabel(unit)
    panels[-1].xaxis.get_major_locator().set_params(nbins=5 if width < 500 else 9)


def _scaled(chart: Timeline) -> tuple[Timeline, str]:
    """Return the chart in the unit of time that its length asks for."""
    longest = max(float(one[-1]) for one in (*(series.seconds for series in chart.series), chart.seconds) if len(one))
    unit, per = next((unit, per) for unit, per, least in _UNITS if longest >= least)
    series = tuple(replace(one, seconds=one.seconds / per) for one in chart.series)
    return replace(chart, series=series, seconds=chart.seconds / per), unit


def _times(axes: Axes, chart: Timeline, width: int) -> None:
    every = np.concatenate([one.samples_ms for one in chart.series])
    low, high = float(every.min()), float(every.max())
    if needs_log(every):
        axes.set_yscale("log")
        log_ticks(axes.yaxis, low, high, 4)
        axes.set_ylabel("ms, logarithmic")
    else:
        room = 0.1 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set_ylim(0 if 0 <= low < high / 2 else low - room, high + room)
        axes.set_ylabel("ms")
        few_ticks(axes, 4)
    for number, one in enumerate(chart.series):
        line, spread = ("second", "second-spread") if number % 2 else ("series", "spread")
        _latency(axes, one, COLOUR[line], COLOUR[spread], width)
    if chart.budget_ms is not None and low <= chart.budget_ms <= high:
        axes.axhline(chart.budget_ms, color=COLOUR["limit"], linewidth=1.2, linestyle=(0, (4, 2)))
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        place = {"loc": "lower left", "bbox_to_anchor": (-0.01, 1.0), "borderaxespad": 0.0}
        axes.legend(handles, labels, frameon=False, ncols=len(labels), labelcolor=COLOUR["muted"], handlelength=1.2, **place)


def _latency(axes: Axes, one: Series, line: str, spread: str, width: int) -> None:
    """Draw a series as the band and the median of its buckets; a short one as dots."""
    found = envelope(one.seconds, one.samples_ms, width // 4)
    if len(found.seconds) == len(one.seconds) and one.high_ms is None:
        axes.plot(found.seconds, found.median, color=line, linestyle="", marker=".", markersize=3, label=one.name)
        return
    high = found.high if one.high_ms is None else envelope(one.seconds, one.high_ms, width // 4).high
    axes.fill_between(found.seconds, found.low, high, color=spread, linewidth=0)
    axes.plot(found.seconds, found.median, color=line, linewidth=1.2, label=one.name)


def _readings(axes: Axes, label: str, lines: list[Line], seconds: Floats) -> None:
    style = {"linewidth": 1.4, "marker": "o" if len(seconds) <= _DOTS_MAX else "", "markersize": 3.5, "clip_on": False}
    for name, values, colour in lines:
        axes.plot(seconds, values, color=COLOUR[colour], **style)
        place = {"xycoords": ("axes fraction", "data"), "xytext": (-2, 5), "textcoords": "offset points"}
        axes.annotate(name, (1, values[np.isfinite(values)][-1]), color=COLOUR[colour], ha="right", **place)
    every = np.concatenate([values for _, values, _ in lines])
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    room = max(1.0, 0.25 * (high - low))
    axes.set_ylim(low - room, high + 2 * room)
    axes.set_ylabel(label)
    few_ticks(axes, 3)


def board_lines(chart: Timeline) -> list[tuple[str, list[Line]]]:
    """Return what the board told: for each panel its label and its lines."""
    found: list[tuple[str, list[Line]]] = []
    if _told(chart.temperature_c):
        found.append(("°C", [("hottest sensor", chart.temperature_c, "heat")]))
    slowest, fastest = chart.cpu_mhz[:, 0], chart.cpu_mhz[:, 1]
    clocks: list[Line] = []
    if _told(fastest):
        same = np.array_equal(slowest, fastest, equal_nan=True)
        clocks += [("CPU", fastest, "clock")] if same else [("fastest core", fastest, "clock"), ("slowest core", slowest, "series")]
    if _told(chart.gpu_mhz):
        clocks.append(("GPU", chart.gpu_mhz, "second"))
    return [*found, ("MHz", clocks)] if clocks else found


def _told(values: Floats) -> bool:
    return bool(np.isfinite(values).any())


def _spans(chart: Timeline) -> list[tuple[float, float]]:
    """Return from when to when the board said it was slowed down: from one such reading to the next that is not."""
    found, begin = [], None
    for second, slowed in zip(chart.seconds, chart.slowed, strict=True):
        if slowed and begin is None:
            begin = float(second)
        elif not slowed and begin is not None:
            found.append((begin, float(second)))
            begin = None
    return found if begin is None else [*found, (begin, float(chart.seconds[-1]))]
