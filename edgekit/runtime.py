"""The model that was deployed to this board, for the programs that use it there. Called by applications; nothing of edgekit calls it.

    from edgekit.runtime import load

    model = load("keywords")
    scores = model.predict(sample)

It runs where edgekit is installed, and on a board that has only what a deployment brought, with ``~/.edgekit/lib`` on the import path:
Python 3.8 and the board's runtime are enough. See docs/service.md.
"""

from __future__ import annotations

from edgekit.ondevice.client import Model, load
from edgekit.ondevice.wire import AgentError

__all__ = ["AgentError", "Model", "load"]
