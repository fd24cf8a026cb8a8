"""``trend`` and ``trend_chart``: the course of figures over runs, as letters for a terminal and as an SVG picture. Called by ``history``.

A figure that broke a rule has a place and no value: a dot in the one, a hollow mark on the ground line of the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from edgekit.pipeline.history import Point
from edgekit.printable import printable

__all__ = ["Key", "trend", "trend_chart"]

Key = tuple[str, str, str]
"""Application, device, metric."""

_BARS = "▁▂▃▄▅▆▇█"
_LEFT, _WIDTH, _TOP, _HEIGHT, _BELOW, _EDGE = 90, 640, 34, 84, 26, 16  # pixels of a panel
_LINE, _BOUND, _BROKEN = "#4477aa", "#99bbdd", "#999999"


def trend(points: Sequence[Point], length: int) -> str:
    """Return a figure's course as bars, from its least to its most; a dot stands for one that is not valid."""
    shown = points[-length:]
    values = [point.value for point in shown if _counts(point)]
    least, most = _span([value for value in values if value is not None])
    step = (most - least) / (len(_BARS) - 1)

    def bar(point: Point) -> str:
        if not _counts(point) or point.value is None:
            return "·"
        return _BARS[round((point.value - least) / step)] if step else _BARS[len(_BARS) // 2]

    return "".join(map(bar, shown))


def trend_chart(series: Mapping[Key, Sequence[Point]]) -> str:
    """Return an SVG document: a panel for each figure, a mark for each run, a line between its bounds."""
    panel = _TOP + _HEIGHT + _BELOW
    width, height = _LEFT + _WIDTH + _EDGE, panel * len(series) + _EDGE
    size = f'width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect {size} fill="white"/>',
    ]
    for number, (key, points) in enumerate(series.items()):
        parts += _panel(panel * number, key, points)
    return "\n".join([*parts, "</svg>", ""])


def _panel(top: int, key: Key, points: Sequence[Point]) -> list[str]:
    app, device, metric = key
    unit = "" if points[-1].unit == "1" else f", {points[-1].unit}"
    simulated = " (simulated)" if any(point.simulated for point in points) else ""
    bounds = [value for point in points if _counts(point) for value in (point.low, point.value, point.high) if value is not None]
    least, most = _span(bounds)
    ground = top + _TOP + _HEIGHT

    def x(place: int) -> float:
        return round(_LEFT + _WIDTH * (place + 0.5) / len(points), 1)

    def y(value: float) -> float:
        return round(ground - _HEIGHT * ((value - least) / (most - least) if most > least else 0.5), 1)

    parts = [_text(_EDGE, top + 20, f"{metric}{unit}: {app} on {device}{simulated}", size=13)]
    parts += [_text(_LEFT - 8, y(value) + 4, f"{value:.4g}", anchor="end") for value in sorted({least, most}) if bounds]
    parts.append(f'<line x1="{_LEFT}" y1="{ground}" x2="{_LEFT + _WIDTH}" y2="{ground}" stroke="#dddddd"/>')
    ends = {len(points) - 1: "end", 0: "start"} if len(points) > 1 else {0: "middle"}
    parts += [_text(x(place), ground + 16, points[place].time[:16], anchor=anchor) for place, anchor in ends.items()]
    line = " ".join(f"{x(place)},{y(point.value)}" for place, point in enumerate(points) if _counts(point) and point.value is not None)
    parts.append(f'<polyline points="{line}" fill="none" stroke="{_LINE}" stroke-width="1.5"/>')
    for place, point in enumerate(points):
        parts.append(f"<g><title>{_safe(_said(point))}</title>")
        if not _counts(point) or point.value is None:
            parts.append(f'<circle cx="{x(place)}" cy="{ground}" r="4" fill="white" stroke="{_BROKEN}"/></g>')
            continue
        if point.low is not None and point.high is not None:
            parts.append(
                f'<line x1="{x(place)}" y1="{y(point.low)}" x2="{x(place)}" y2="{y(point.high)}" stroke="{_BOUND}" stroke-width="3"/>'
            )
        parts.append(f'<circle cx="{x(place)}" cy="{y(point.value)}" r="3.5" fill="{_LINE}"/></g>')
    return parts


def _said(point: Point) -> str:
    value = "no finite figure" if point.value is None else f"{point.value:.6g} {point.unit}"
    return f"{point.time}: {value}" + (f", invalid: {point.rule}" if point.rule else "") + (f", {point.revision}" if point.revision else "")


def _counts(point: Point) -> bool:
    return point.rule is None and point.value is not None


def _span(values: Sequence[float]) -> tuple[float, float]:
    return (min(values), max(values)) if values else (0.0, 0.0)


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 11) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}">{_safe(words)}</text>'


def _safe(words: str) -> str:
    return escape(printable(words))
