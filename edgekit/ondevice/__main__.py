"""``python -m edgekit.ondevice``: the agent on the host itself, for a local device and for checking an artifact in a process of its own."""

from __future__ import annotations

from .agent import main

if __name__ == "__main__":
    raise SystemExit(main())
