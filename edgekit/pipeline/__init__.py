"""The order of things: the only files that know which step follows which.

One file per command word. They return values and raise `edgekit.errors`; they neither print nor
know Click. ``progress`` is called as ``progress(stage, done, total)``.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "silent"]

Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """Ignore progress: the default of every pipeline function."""
