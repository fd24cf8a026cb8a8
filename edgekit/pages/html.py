"""``html_page``: contents as one HTML file that asks for nothing else.

No script, no request, everything inline; a content security policy in the page says so to the browser. Jinja2 escapes every word.
"""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from typing import Any

from edgekit._version import __version__
from edgekit.errors import MissingExtraError
from edgekit.pages import theme
from edgekit.pages.chart import Distribution, Timeline, described
from edgekit.pages.outline import Contents
from edgekit.pages.plot import draw
from edgekit.pages.svg import inline
from edgekit.printable import printable

__all__ = ["html_page"]

_FOLDER = Path(__file__).parent
_WIDE, _NARROW = 816, 328
"""Pixels: a chart is drawn for a desk and for a phone of 360, so that its letters are as large as the text on both."""
_TOGETHER = re.compile(r"(?<=\d) (?=(?:\d{3}|%|ms|MB|kB|MiB|MHz|dB|°C)(?!\w))")
"""What no line may end in the middle of: the groups of a number, a number and its unit."""


def html_page(found: Contents) -> bytes:
    """Return the page; the same contents give the same bytes.

    Raises
    ------
    MissingExtraError
        Jinja2 or matplotlib is not installed.
    """
    try:
        import jinja2
        import markupsafe
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"--html needs {error.name}, which is not installed", fix="pip install 'edgekit[report]'") from error
    numbers = count(1)

    def drawn(chart: Distribution | Timeline) -> Any:
        """Return a chart twice: of the two, the page shows the one that fits."""
        words = described(chart)
        sizes = []
        for name, width in (("wide", _WIDE), ("narrow", _NARROW)):
            key = f"chart{next(numbers)}"
            sizes.append(f'<div class="{name}">{inline(draw(chart, width, key), key, chart.title, words)}</div>')
        return markupsafe.Markup("".join(sizes))

    def shown(value: Any) -> Any:
        return value if isinstance(value, markupsafe.Markup) else _TOGETHER.sub("\N{NARROW NO-BREAK SPACE}", printable(str(value)))

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    schemes = f":root{{{theme.variables(theme.LIGHT)}}}@media (prefers-color-scheme:dark){{:root{{{theme.variables(theme.DARK)}}}}}"
    text: str = environment.get_template("page.html").render(
        page=found, style=markupsafe.Markup(schemes + style), drawn=drawn, version=__version__
    )
    return text.encode("utf-8")
