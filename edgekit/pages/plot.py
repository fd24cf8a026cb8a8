"""Charts drawn by matplotlib: as SVG for a page, as a PNG or SVG file for itself. No display, no pyplot, no state between calls.

The same charts give the same bytes: ids come from a fixed salt, no date is written, and letters stay text.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.pages.chart import Distribution, Floats, Series, Timeline, curve, envelope
from edgekit.pages.theme import LIGHT as COLOUR
from edgekit.pages.ticks import few_ticks, horizontal, log_ticks, needs_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["draw", "picture"]

Chart = Distribution | Timeline

_DPI = 72
"""A point of matplotlib's is then a pixel of CSS."""
_PNG_DPI = 144
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 24, 40  # pixels around the axes of every chart, so that charts below each other line up
_PANEL = {"Distribution": (110, 170), "Timeline": (150, 84)}
"""Heights of the first panel and of each further one."""
_GAP = 16
_LEVELS = {0.5: "p50", 0.9: "p90", 0.99: "p99", 0.999: "p99.9", 0.9999: "p99.99", 0.99999: "p99.999"}
"""Ticks where a report names no percentile."""
_RC = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.linewidth": 0.8,
    "axes.edgecolor": COLOUR["rule"],
    "axes.labelcolor": COLOUR["muted"],
    "xtick.color": COLOUR["muted"],
    "ytick.color": COLOUR["muted"],
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "axes.axisbelow": True,
    "grid.color": COLOUR["rule"],
    "grid.linewidth": 0.6,
    "path.simplify": False,
}


def draw(chart: Chart, width: int, salt: str) -> str:
    """Return one chart as an SVG document.

    Parameters
    ----------
    width
        In pixels; how many points are drawn follows from it.
    salt
        Makes the ids in it differ from those of other charts on the page.
    """
    return _saved([chart], width, salt, "svg", titles=False).decode()


def picture(charts: Sequence[Chart], kind: str) -> bytes:
    """Return charts below each other, each with its title, as a file of its own: ``"png"`` or ``"svg"``."""
    return _saved(charts, 760, "edgekit", kind, titles=True)


def _saved(charts: Sequence[Chart], width: int, salt: str, kind: str, *, titles: bool) -> bytes:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [_height(chart, width) + (20 if titles else 0) for chart in charts]
    with mpl.rc_context({**_RC, "svg.hashsalt": salt}):
        figure = Figure(figsize=(width / _DPI, sum(heights) / _DPI), dpi=_DPI, facecolor=COLOUR["paper"])
        FigureCanvasAgg(figure)
        parts = figure.subfigures(len(charts), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, chart, height in zip(parts, charts, heights, strict=True):
            part.set_facecolor("none")
            panels = _panels(part, chart, width, height, 20 if titles else 0)
            if titles:
                part.text(_LEFT / width, 1 - 16 / height, chart.title, color=COLOUR["ink"], fontsize=13, fontweight="bold")
            if isinstance(chart, Distribution):
                _distribution(panels, chart, width)
            else:
                _timeline(panels, chart, width)
            if chart.mark:
                right = 1 - _RIGHT / width
                place = 1 - (17 + (20 if titles else 0)) / height
                part.text(right, place, f"INVALID: {chart.mark}", color=COLOUR["caution"], fontweight="bold", ha="right")
        file = io.BytesIO()
        metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(file, format=kind, dpi=_PNG_DPI if kind == "png" else _DPI, metadata=metadata, facecolor=COLOUR["paper"])
        return file.getvalue()


def _rows(chart: Chart) -> int:
    """Return how many panels a chart has."""
    return 2 if isinstance(chart, Distribution) else 1 + len(_board(chart))


def _top(chart: Chart, width: int) -> int:
    """Return the room above the first panel: for a mark, and on a phone for a legend below it."""
    return _TOP + (18 if isinstance(chart, Timeline) and chart.mark and len(chart.series) > 1 and width < 500 else 0)


def _height(chart: Chart, width: int) -> int:
    first, other = _PANEL[type(chart).__name__]
    return _top(chart, width) + _BOTTOM + first + (_rows(chart) - 1) * (other + _GAP)


def _panels(part: Figure | SubFigure, chart: Chart, width: int, height: int, title: int) -> list[Axes]:
    """Make the panels of a chart, to the pixel; all share the horizontal axis."""
    first, other = _PANEL[type(chart).__name__]
    panels: list[Any] = []
    top = _top(chart, width) + title
    for row in range(_rows(chart)):
        high = first if row == 0 else other
        box = (_LEFT / width, 1 - (top + high) / height, 1 - (_LEFT + _RIGHT) / width, high / height)
        axes = part.add_axes(box, sharex=panels[0] if panels else None, facecolor="none")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="both" if isinstance(chart, Distribution) else "y")
        axes.tick_params(labelbottom=row == _rows(chart) - 1)
        panels.append(axes)
        top += high + _GAP
    return panels


def _distribution(panels: list[Axes], chart: Distribution, width: int) -> None:
    """Draw a histogram, and below it how rare longer ones are, with each percentile and its bounds."""
    above, below = panels
    samples = chart.samples_ms
    logarithmic = needs_log(samples)
    ends = (float(samples.min()), float(samples.max()))
    if chart.budget_ms is not None:
        ends = (min(ends[0], chart.budget_ms), max(ends[1], chart.budget_ms))
    horizontal(below, *ends, logarithmic, width)
    bins = max(24, width // 8)
    low, high = below.get_xlim()
    edges = np.geomspace(low, high, bins + 1) if logarithmic else np.linspace(low, high, bins + 1)
    above.stairs(np.histogram(samples, edges)[0], edges, fill=True, color=COLOUR["series"])
    above.set_ylabel("runs")
    few_ticks(above, 3)
    longest, rarity = curve(samples, width // 3)
    below.step(longest, rarity, where="post", color=COLOUR["series"], linewidth=1.4)
    named = [one for one in chart.percentiles if _rarity(one.p) <= rarity[-1] + 0.4]
    for one in named:
        _percentile(below, one.estimate_ms, one.lower_ms, one.upper_ms, _rarity(one.p))
    top = max([rarity[-1], *(_rarity(one.p) for one in named)], default=1.0)
    below.set_ylim(0, max(top, 1.0) * 1.06)
    levels = {one.p: one.name for one in named} | {
        p: name for p, name in _LEVELS.items() if _rarity(p) <= top and all(one.p != p for one in named)
    }
    below.set_yticks([_rarity(p) for p in levels], list(levels.values()))
    below.set_xlabel("milliseconds" + (", logarithmic" if logarithmic else ""))
    if chart.budget_ms is not None:
        for axes in panels:
            axes.axvline(chart.budget_ms, color=COLOUR["limit"], linewidth=1.2, linestyle=(0, (4, 2)))
        _limit_words(above, chart.budget_ms, ends)


def _limit_words(axes: Axes, budget_ms: float, ends: tuple[float, float]) -> None:
    """Write the budget beside its line, on the side where there is room."""
    left = budget_ms > (ends[0] * ends[1]) ** 0.5 if axes.get_xscale() == "log" else budget_ms > sum(ends) / 2
    axes.annotate(
        f"budget {budget_ms:g} ms",
        (budget_ms, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if left else 4, -10),
        textcoords="offset pixels",
        color=COLOUR["limit"],
        ha="right" if left else "left",
    )


def _rarity(p: float) -> float:
    return float(-np.log10(1 - p))


def _percentile(axes: Axes, estimate: float, lower: float | None, upper: float | None, height: float) -> None:
    """Draw a percentile as a dot on the bar between its bounds; where it has no upper one, an open dot says so."""
    if lower is not None or upper is not None:
        ends = [estimate if lower is None else lower, estimate if upper is None else upper]
        axes.plot(ends, [height, height], color=COLOUR["bound"], linewidth=2, marker="|", markersize=8, markeredgewidth=2)
    face = COLOUR["paper"] if upper is None else COLOUR["bound"]
    axes.plot([estimate], [height], marker="o", markersize=5.5, markerfacecolor=face, markeredgecolor=COLOUR["bound"], markeredgewidth=1.4)


def _timeline(panels: list[Axes], chart: Timeline, width: int) -> None:
    """Draw latency over time, and below it temperature and clocks as far as the board told them."""
    times, *others = panels
    every = np.concatenate([one.samples_ms for one in chart.series])
    logarithmic = needs_log(every)
    if logarithmic:
        times.set_yscale("log")
        log_ticks(times.yaxis, float(every.min()), float(every.max()), 4)
    else:
        times.set_ylim(0, float(every.max()) * 1.08 or 1.0)
        few_ticks(times, 4)
    times.set_ylabel("ms, logarithmic" if logarithmic else "ms")
    colours = (("series", "spread"), ("second", "second-spread"))
    for number, one in enumerate(chart.series):
        line, spread = colours[number % 2]
        _latency(times, one, COLOUR[line], COLOUR[spread], width)
    if chart.budget_ms is not None and every.min() <= chart.budget_ms <= every.max() * 3:
        times.axhline(chart.budget_ms, color=COLOUR["limit"], linewidth=1.2, linestyle=(0, (4, 2)))
    handles, labels = times.get_legend_handles_labels()
    if len(labels) > 1:
        place = {"loc": "lower left", "bbox_to_anchor": (-0.01, 1.0), "borderaxespad": 0.0}
        times.legend(handles, labels, frameon=False, ncols=len(labels), labelcolor=COLOUR["muted"], handlelength=1.2, **place)
    for axes, (label, lines) in zip(others, _board(chart), strict=True):
        for name, values, colour in lines:
            axes.plot(
                chart.seconds,
                values,
                color=COLOUR[colour],
                linewidth=1.4,
                marker="o" if len(values) < 40 else "",
                markersize=3.5,
                clip_on=False,
            )
            axes.annotate(
                name, (chart.seconds[-1], values[-1]), xytext=(-2, 5), textcoords="offset pixels", color=COLOUR[colour], ha="right"
            )
        values = np.concatenate([line for _, line, _ in lines])
        room = max(1.0, 0.25 * float(np.nanmax(values) - np.nanmin(values)))
        axes.set_ylim(float(np.nanmin(values)) - room, float(np.nanmax(values)) + 2 * room)
        axes.set_ylabel(label)
        few_ticks(axes, 3)
    for begin, end in _spans(chart):
        for axes in panels:
            axes.axvspan(begin, end, color=COLOUR["slowed"], linewidth=0, zorder=0.5)
        times.annotate(
            "slowed down",
            ((begin + end) / 2, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, -12),
            textcoords="offset pixels",
            color=COLOUR["fail"],
            ha="center",
        )
    ends = [float(one.seconds[-1]) for one in chart.series] + [float(second) for second in chart.seconds]
    panels[-1].set_xlim(min(0.0, *(float(one.seconds[0]) for one in chart.series)), max(ends) or 1.0)
    panels[-1].set_xlabel("seconds")
    panels[-1].xaxis.get_major_locator().set_params(nbins=5 if width < 500 else 9)


def _latency(axes: Axes, one: Series, line: str, spread: str, width: int) -> None:
    found = envelope(one.seconds, one.samples_ms, width // 4)
    if len(found.seconds) == len(one.seconds):
        axes.plot(found.seconds, found.median, color=line, linestyle="", marker=".", markersize=3, label=one.name)
        return
    axes.fill_between(found.seconds, found.low, found.high, color=spread, linewidth=0)
    axes.plot(found.seconds, found.median, color=line, linewidth=1.2, label=one.name)


def _board(chart: Timeline) -> list[tuple[str, list[tuple[str, Floats, str]]]]:
    """Return what the board told: a panel's label, and its lines with their names and colours."""
    found = [("°C", [("hottest sensor", chart.temperature_c, "heat")])] if _told(chart.temperature_c) else []
    slowest, fastest = chart.cpu_mhz[:, 0], chart.cpu_mhz[:, 1]
    clocks = [("CPU", fastest, "clock")] if _told(fastest) else []
    if _told(fastest) and not np.array_equal(slowest, fastest, equal_nan=True):
        clocks = [("fastest core", fastest, "clock"), ("slowest core", slowest, "series")]
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
