"""``python -m edgekit`` and the ``edgekit`` command."""

from __future__ import annotations

from edgekit.cli.boundary import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
