"""The engine that a release runs on this board: the one in its bundle where its key is this board's, else the one built here.

Called by `edgekit.ondevice.runner`.
"""

from __future__ import annotations

import os
from typing import Any

from ..facts import engine_facts
from ..wire import AgentError
from .board import board_of
from .engines import ENGINE, engine_path
from .key import RECIPE_FIELDS, digest_of, key_of, typing_of

__all__ = ["plan_of"]


def plan_of(root: str, folder: str, manifest: dict[str, Any], files: dict[str, tuple[str, int]]) -> str:
    """Return the engine of the release in a folder; refuse one that has none for this board. ``files`` are the manifest's, by path."""
    recipe, engine = manifest["recipe"], manifest.get("engine") or {}
    board = board_of(engine_facts())
    sources = recipe.get("files") if isinstance(recipe, dict) and all(name in recipe for name in RECIPE_FIELDS) else None
    source = sources.get(typing_of(board["tensorrt"])) if isinstance(sources, dict) else None
    if source not in files:
        text = "the manifest's recipe names no file of the bundle for TensorRT %s" % board["tensorrt"]
        raise AgentError("input", text, "build the bundle again")
    key = key_of(recipe, files[source][0], board)
    if engine.get("key") == key and engine.get("path") in files:
        return os.path.join(folder, engine["path"])
    plan = os.path.join(engine_path(root, digest_of(key)), ENGINE)
    if not os.path.isfile(plan):
        named = engine.get("key")
        built: dict[str, Any] = named if isinstance(named, dict) else {}
        other = ["%s %s, here %s" % (name, built[name], key[name]) for name in key if built.get(name, key[name]) != key[name]]
        why = "the bundle's is of another board (%s)" % "; ".join(other) if other else "the bundle holds none"
        raise AgentError("state", "there is no engine for this board: %s, and none was built here" % why, "deploy it")
    return plan
