"""The runtimes that judge artifacts: each a module with ``open_file(path, threads)``; ``threads`` None is its own choice."""

from __future__ import annotations

from typing import Protocol

from bench.quantization.feed import Array, Feed

__all__ = ["Opened"]


class Opened(Protocol):
    """A file ready to run. Only ``invoke`` is timed."""

    def feed(self, sample: Feed) -> None: ...

    def invoke(self) -> None: ...

    def output(self) -> Array:
        """Return the real values of the first output."""
