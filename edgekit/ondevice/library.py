"""``lib`` in edgekit's folder: the name under which programs on the board import edgekit. A deployment keeps it up to date.

It links to the agent's file that deployed last, which holds `edgekit.runtime`: ``PYTHONPATH=~/.edgekit/lib``.
"""

from __future__ import annotations

import os

from .disk import make_folder, switch_link

LIBRARY = "lib"


def agent_file() -> str | None:
    """Return the file that this very program runs from; None where it is a folder, as on the host."""
    path = os.path.abspath(__file__)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return os.path.realpath(path) if os.path.isfile(path) and not path.endswith(".py") else None


def offer(root: str) -> None:
    """Let ``lib`` be the file that runs."""
    file, link = agent_file(), os.path.join(make_folder(root), LIBRARY)
    if file is not None and os.path.realpath(link) != file:
        switch_link(link, os.path.relpath(file, root))
