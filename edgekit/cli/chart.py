"""``layer_chart``: what each layer loses, as an SVG picture. Called by ``debug``.

Written by hand: it is rectangles and words, which every browser shows and every report can hold; a plotting library would be
the largest package of the install, for one picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edgekit.explanation import Layer
from edgekit.printable import printable

__all__ = ["layer_chart"]

_NAMES, _BARS, _ROW, _HEAD, _EDGE = 330, 520, 18, 64, 16  # pixels
_FULL_DB = 60.0
"""Where bars end: beyond, nothing can be told apart from float."""
_TICKS_DB = (0, 10, 20, 30, 40, 50, 60)
_NAME_LENGTH = 46
_ALONE, _WHOLE, _FLOAT = "#4477aa", "#ee6677", "#bbbbbb"
"""From P. Tol, "Colour schemes" (2021), which keep apart for every kind of eye."""


def layer_chart(title: str, layers: Sequence[Layer]) -> str:
    """Return an SVG document: a row for each layer in the network's order, with a bar for its SQNR alone and a dot for that in the whole.

    Parameters
    ----------
    title
        Stands above.
    """
    rows = sorted(layers, key=lambda layer: layer.place)
    height = _HEAD + _ROW * len(rows) + _EDGE
    width = _NAMES + _BARS + 2 * _EDGE
    size = f'width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect {size} fill="white"/>',
        _text(_EDGE, 20, title, size=14),
        _text(_NAMES, 38, "bar: SQNR in dB of the layer alone in int8; dot: with every layer before it in int8; grey: kept in float"),
    ]
    for tick in _TICKS_DB:
        x = _x(tick)
        parts.append(f'<line x1="{x}" y1="{_HEAD - 8}" x2="{x}" y2="{height - _EDGE}" stroke="#dddddd"/>')
        parts.append(_text(x, _HEAD - 11, str(tick), anchor="middle"))
    for number, layer in enumerate(rows):
        parts += _row(_HEAD + _ROW * number, layer)
    return "\n".join([*parts, "</svg>", ""])


def _row(top: int, layer: Layer) -> list[str]:
    alone, whole = (_FULL_DB if loss.sqnr_db is None else loss.sqnr_db for loss in (layer.alone, layer.whole))
    colour = _ALONE if layer.precision == "int8" else _FLOAT
    words = f"{layer.name} ({layer.op}): {alone:.1f} dB alone, {whole:.1f} dB in the whole"
    return [
        f"<g><title>{_safe(words)}</title>",
        _text(_NAMES - 8, top + 12, _shortened(layer.name), anchor="end"),
        f'<rect x="{_x(0)}" y="{top + 2}" width="{_x(alone) - _x(0)}" height="{_ROW - 5}" fill="{colour}"/>',
        f'<circle cx="{_x(whole)}" cy="{top + _ROW / 2 - 0.5}" r="4" fill="{_WHOLE}"/></g>',
    ]


def _x(decibels: float) -> float:
    return round(_NAMES + _BARS * max(0.0, min(_FULL_DB, decibels)) / _FULL_DB, 1)


def _shortened(name: str) -> str:
    """Keep the end of a name: that is where exporters put what differs."""
    return name if len(name) <= _NAME_LENGTH else f"…{name[-_NAME_LENGTH + 1 :]}"


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 11) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}">{_safe(words)}</text>'


def _safe(words: str) -> str:
    return escape(printable(words))
