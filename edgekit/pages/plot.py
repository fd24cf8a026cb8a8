"""Charts drawn by matplotlib: as SVG for a page, as a PNG or SVG file for itself. No display, no pyplot, no state between calls.

The same charts give the same bytes: ids come from a fixed salt, no date is written, and letters stay text.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgekit.errors import MissingExtraError
from edgekit.pages.chart import Distribution, Timeline
from edgekit.pages.course import board_lines, draw_timeline
from edgekit.pages.distribution import draw_distribution
from edgekit.pages.theme import LIGHT as COLOUR

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

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    return _saved([chart], width, salt, "svg", titles=False).decode()


def picture(charts: Sequence[Chart], kind: str) -> bytes:
    """Return charts below each other, each with its title, as a file of its own: ``"png"`` or ``"svg"``.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    return _saved(charts, 760, "edgekit", kind, titles=True)


def _saved(charts: Sequence[Chart], width: int, salt: str, kind: str, *, titles: bool) -> bytes:
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"charts need {error.name}, which is not installed", fix="pip install 'edgekit[report]'") from error

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
                draw_distribution(panels, chart, width)
            else:
                draw_timeline(panels, chart, width)
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
    return 2 if isinstance(chart, Distribution) else 1 + len(board_lines(chart))


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
