"""The axes of charts: linear or logarithmic, with few ticks at round numbers. Called by ``plot``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.pages.chart import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["few_ticks", "horizontal", "log_ticks", "needs_log"]

_TAIL_LOG = 6.0
"""How many medians long a tail must be for a logarithmic axis: on a linear one, nothing else would be seen."""


def needs_log(values: Floats) -> bool:
    """Say whether a logarithmic axis shows a series better."""
    return bool(values.min() > 0 and values.max() > _TAIL_LOG * np.median(values))


def horizontal(axes: Axes, low: float, high: float, logarithmic: bool, width: int) -> None:
    """Let the horizontal axis span all there is; none of it lies on the edge."""
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.05, high * 1.05)
        log_ticks(axes.xaxis, low, high, 4 if width < 500 else 8)
        return
    room = 0.04 * (high - low) or 0.05 * abs(high) or 0.5
    axes.set_xlim(low - room, high + room)
    axes.xaxis.get_major_locator().set_params(nbins=4 if width < 500 else 8)


def log_ticks(axis: Any, low: float, high: float, most: int) -> None:
    """Put ticks at 1, 2 and 5 of each decade, or at fewer of them where that would be many."""
    decades = range(int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(ticks) <= most:
            break
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)


def few_ticks(axes: Axes, count: int) -> None:
    """Put that many ticks, about, on the vertical axis."""
    axes.yaxis.get_major_locator().set_params(nbins=count)
