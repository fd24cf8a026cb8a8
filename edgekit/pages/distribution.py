"""How a series of latencies spreads, drawn: a histogram, and below it how rare longer ones are. Called by ``plot``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.pages.chart import Distribution, curve
from edgekit.pages.theme import LIGHT as COLOUR
from edgekit.pages.ticks import few_ticks, horizontal, needs_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_distribution"]

_LEVELS = {0.5: "p50", 0.9: "p90", 0.99: "p99", 0.999: "p99.9", 0.9999: "p99.99", 0.99999: "p99.999"}
"""Ticks where a report names no percentile."""
_FAR = 4.0
"""How many times as long as all runs a budget may be and still be drawn; beyond, the runs would shrink to a line."""
_LETTER = 11
"""Height of a tick's label in pixels."""


def draw_distribution(panels: list[Axes], chart: Distribution, width: int) -> None:
    """Draw into two panels, with each percentile, its bounds and the budget."""
    above, below = panels
    samples = chart.samples_ms
    logarithmic = needs_log(samples)
    ends = (float(samples.min()), float(samples.max()))
    budget_ms = chart.budget_ms
    if budget_ms is not None and ends[0] / _FAR <= budget_ms <= ends[1] * _FAR:
        ends = (min(ends[0], budget_ms), max(ends[1], budget_ms))
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
    top = max(1.0, float(rarity[-1]), *(_rarity(one.p) for one in named)) * 1.06
    below.set_ylim(0, top)
    _name_levels(below, {**{p: name for p, name in _LEVELS.items() if _rarity(p) < top}, **{one.p: one.name for one in named}}, top)
    below.set_xlabel("milliseconds" + (", logarithmic" if logarithmic else ""))
    if budget_ms is not None and ends[0] <= budget_ms <= ends[1]:
        for axes in panels:
            axes.axvline(budget_ms, color=COLOUR["limit"], linewidth=1.2, linestyle=(0, (4, 2)))
        _limit_words(above, budget_ms, ends)


def _rarity(p: float) -> float:
    """Return where a percentile lies on the scale: 1 at p90, 2 at p99, 3 at p99.9."""
    return float(-np.log10(1 - p))


def _name_levels(axes: Axes, levels: dict[float, str], top: float) -> None:
    """Put a tick at each percentile; where two names would overlap, the upper keeps its line alone."""
    room = _LETTER * top / (axes.bbox.height or 1)
    ticks = sorted((_rarity(p), name) for p, name in levels.items())
    names = [name if n == 0 or place - ticks[n - 1][0] > room else "" for n, (place, name) in enumerate(ticks)]
    axes.set_yticks([place for place, _ in ticks], names)


def _percentile(axes: Axes, estimate: float, lower: float | None, upper: float | None, height: float) -> None:
    """Draw a percentile as a dot on the bar between its bounds; where it has no upper one, a hollow dot says so."""
    if lower is not None or upper is not None:
        ends = [estimate if lower is None else lower, estimate if upper is None else upper]
        axes.plot(ends, [height, height], color=COLOUR["bound"], linewidth=2, marker="|", markersize=8, markeredgewidth=2)
    face = COLOUR["paper"] if upper is None else COLOUR["bound"]
    axes.plot([estimate], [height], marker="o", markersize=5.5, markerfacecolor=face, markeredgecolor=COLOUR["bound"], markeredgewidth=1.4)


def _limit_words(axes: Axes, budget_ms: float, ends: tuple[float, float]) -> None:
    """Write the budget beside its line, on the side where there is room."""
    left = budget_ms > (ends[0] * ends[1]) ** 0.5 if axes.get_xscale() == "log" else budget_ms > sum(ends) / 2
    axes.annotate(
        f"budget {budget_ms:g} ms",
        (budget_ms, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if left else 4, -10),
        textcoords="offset points",
        color=COLOUR["limit"],
        ha="right" if left else "left",
    )
