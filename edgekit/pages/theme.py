"""The colours of a page, light and dark, by what they stand for.

``plot`` draws in the light ones; ``svg`` turns them into CSS variables, which the page defines for both schemes. A test holds
every pair of text and ground to a contrast of 4.5 (WCAG 2.2, success criterion 1.4.3), and lines to 3 (1.4.11).
"""

from __future__ import annotations

__all__ = ["DARK", "LIGHT", "TEXTS", "variables"]

LIGHT = {
    "paper": "#ffffff",
    "panel": "#f4f6f7",
    "ink": "#1b1f23",
    "muted": "#59626b",
    "rule": "#d5dbe0",
    "series": "#1c5d99",
    "spread": "#b3cde4",
    "second": "#6f4a9b",
    "second-spread": "#d3c6e3",
    "bound": "#a34a08",
    "heat": "#a83c2b",
    "clock": "#0d6e63",
    "limit": "#8a2170",
    "slowed": "#f6dcd8",
    "pass": "#1b6e41",
    "fail": "#b42318",
    "caution": "#855a00",
}

DARK = {
    "paper": "#121619",
    "panel": "#1a2024",
    "ink": "#e3e7ea",
    "muted": "#9aa5ae",
    "rule": "#30383e",
    "series": "#7db3e6",
    "spread": "#2a4a68",
    "second": "#bda0e3",
    "second-spread": "#443758",
    "bound": "#eda066",
    "heat": "#f08d7c",
    "clock": "#5fc4b5",
    "limit": "#e08cc9",
    "slowed": "#46241f",
    "pass": "#6cc596",
    "fail": "#ff8d83",
    "caution": "#dfb257",
}

TEXTS = ("ink", "muted", "series", "second", "bound", "heat", "clock", "limit", "pass", "fail", "caution")
"""What words are written in, on ``paper`` and on ``panel``."""


def variables(colours: dict[str, str]) -> str:
    """Return the colours as CSS declarations."""
    return "".join(f"--{name}:{value};" for name, value in colours.items())
