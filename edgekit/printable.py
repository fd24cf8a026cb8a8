"""Text of others made safe to show: what a device, a file or a server says must not steer the terminal or imitate our own lines.

Called wherever such text becomes a message or a value, or a part of a page.
"""

from __future__ import annotations

import re

__all__ = ["markdown_words", "printable"]

_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_FORMATS = re.compile(r"([\\`*_{}\[\]()#+!|~$])")
# What GitHub turns into mentions, issues and links is broken by a character without width.
_CALLS = re.compile(r"(@|#|://|\bGH-|www\.)", re.IGNORECASE)


def printable(text: str) -> str:
    """Return a text as one line that only shows.

    White space of any kind becomes a blank; control characters (C0, DEL, C1), bidirectional and other format characters,
    surrogates and what Unicode has not assigned become U+FFFD. The rule is that of `str.isprintable`.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def markdown_words(text: str) -> str:
    """Return a text as Markdown that shows it as it is: it formats nothing, links nowhere and calls nobody."""
    inert = "".join(_HTML.get(letter, letter) for letter in printable(text))
    return _CALLS.sub("\\1\N{ZERO WIDTH SPACE}", _FORMATS.sub(r"\\\1", inert))
