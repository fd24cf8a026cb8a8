"""The one place where words become a POSIX shell command line. Called by every connection that needs one."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

__all__ = ["command", "quote"]


def quote(word: str) -> str:
    """Quote one word for a POSIX shell.

    A leading ``~/`` is left to the shell of the device, which knows the home folder; all else is literal.
    """
    if word.startswith("~/"):
        return "~/" + (shlex.quote(word[2:]) if len(word) > len("~/") else "")
    return shlex.quote(word)


def command(argv: Sequence[str]) -> str:
    """Join words to one command line, each quoted by `quote`."""
    return " ".join(quote(word) for word in argv)
