"""Text of others made safe to show: what a device, a file or a server says must not steer the terminal or imitate our own lines.

Called wherever such text becomes a message or a value.
"""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """Return a text as one line that only shows.

    White space of any kind becomes a blank; control characters (C0, DEL, C1), bidirectional and other format characters,
    surrogates and what Unicode has not assigned become U+FFFD. The rule is that of `str.isprintable`.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "\N{REPLACEMENT CHARACTER}" for letter in text)
