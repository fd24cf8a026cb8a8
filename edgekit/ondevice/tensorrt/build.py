"""An engine for this board: job `engine.build`. Finds the engine of the board's own key, or watches over one that is being built.

The builder is a process of its own (`work`) that outlives the link: asked again, the job goes on watching where the last one stopped. There
is one builder per key.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from typing import Any

from ..disk import free_bytes, make_folder
from ..facts import engine_facts
from ..runtimes import trtexec
from ..store import check_blob
from ..wire import DIGEST, AgentError, Progress, encode_job, integer, matching
from . import engines
from .adapter import MEMORY_FIX
from .board import board_of
from .key import FIELDS, PRECISIONS, digest_of, key_of
from .weights import bytes_read
from .work import FAILURE, STATE

POLL_S = 0.2
# A builder's own need, as a floor that only refuses what is hopeless: CUDA's context and TensorRT's libraries, and the weights as they were
# read, as they are tried and as they are written. Not measured on a board.
BASE_BYTES, PER_MODEL_BYTE = 256 << 20, 3
# On a Jetson the GPU's memory is the board's. TensorRT would let a layer use all of it; we leave half of what is free now.
WORKSPACE_SHARE = 0.5
SPARE_DISK_BYTES = 64 << 20


def build(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Return the board's engine of a blob and a recipe: one that is there, or a new one; tell of the building meanwhile."""
    onnx, recipe = matching(job.get("onnx"), DIGEST, "onnx"), _recipe(job.get("recipe"))
    timing = job.get("timing_cache")
    timing = None if timing is None else check_blob(root, matching(timing, DIGEST, "timing_cache"), None, "the timing cache")
    path = check_blob(root, onnx, None, "the network")
    progress("ask what the board is", 0, 1)
    live = engine_facts()
    key = key_of(recipe, onnx, board_of(live))
    _compare(job.get("key"), key)
    digest = digest_of(key)
    found, cached, ours = engines.read(root, digest), True, False
    while found is None:
        lock = engines.take(root, digest)
        if lock is not None:
            try:
                found = engines.read(root, digest)  # it may have been finished just now
                if found is not None:
                    break
                _start(root, key, live, bytes_read(os.path.getsize(path), key["tensorrt"]), timing, lock)
            finally:
                os.close(lock)
            ours = True
        _watch(root, digest, progress)
        found, cached = engines.read(root, digest), False
        failure = engines.read_json(os.path.join(engines.work_path(root, digest), FAILURE))
        if found is None and failure is not None:
            raise AgentError(failure["kind"], failure["message"], failure["fix"])
        if found is None and ours:  # somebody else's, which the power cut off, we build again
            raise AgentError("runtime-failed", "the builder has gone without a word; what it said last is in %s.work" % digest)
    return {"engine": digest, "cached": cached, **{name: value for name, value in found.items() if name != "key"}}


def _recipe(value: object) -> dict[str, Any]:
    recipe = value if isinstance(value, dict) else {}
    nodes = recipe.get("float32_nodes", [])
    named = isinstance(nodes, list) and all(isinstance(name, str) for name in nodes)
    if recipe.get("precision") not in PRECISIONS or not named:
        raise AgentError("usage", "the recipe needs a precision (%s) and float32_nodes, a list of names" % ", ".join(PRECISIONS))
    workspace, core = recipe.get("workspace_mib"), recipe.get("dla_core")
    return {
        "precision": recipe["precision"],
        "workspace_mib": None if workspace is None else integer(recipe, "workspace_mib", 1, 1 << 20),
        "dla_core": None if core is None else integer(recipe, "dla_core", 0, 15),
        "float32_nodes": nodes,
    }


def _compare(expected: object, key: dict[str, Any]) -> None:
    """Refuse to build what the host did not ask for: its key names another board or release."""
    given = expected if isinstance(expected, dict) else {}
    for name in FIELDS:
        if given.get(name) != key[name]:
            raise AgentError("mismatch", "%s: the engine is asked for %.200r, the board has %.200r" % (name, given.get(name), key[name]))


def workspace_bytes(recipe: dict[str, Any], model_bytes: int, available: int, shared: bool) -> tuple[int | None, list[str]]:
    """Return what a layer may use as scratch memory (None: TensorRT decides) and what to tell of it; refuse what cannot end well.

    ``shared`` says that the GPU has no memory of its own.
    """
    need, wanted = BASE_BYTES + PER_MODEL_BYTE * model_bytes, recipe["workspace_mib"]
    scratch = (wanted or 0) << 20 if shared else 0
    if need + scratch > available:
        sizes = tuple(size >> 20 for size in (need, scratch, available))
        message = "building needs about %d MiB and a workspace of %d MiB; %d MiB of memory are free" % sizes
        raise AgentError("state", message, MEMORY_FIX)
    if wanted is not None:
        return wanted << 20, []
    if not shared:
        return None, []
    capped = int((available - need) * WORKSPACE_SHARE)
    return capped, ["workspace capped at %d MiB, %d %% of the memory that is free" % (capped >> 20, 100 * WORKSPACE_SHARE)]


def _start(root: str, key: dict[str, Any], live: dict[str, Any], model_bytes: int, timing: str | None, lock: int) -> None:
    """Start the builder, detached: a session of its own, nothing of the link's; it inherits the lock."""
    workspace, warnings = workspace_bytes(key, model_bytes, live["memory_available_bytes"], live["jetson"] is not None)
    if free_bytes(root) < model_bytes + SPARE_DISK_BYTES:
        raise AgentError("no-space", "%d MiB are free under %s: too little for an engine" % (free_bytes(root) >> 20, root))
    known = engines.timing_start(root, key)
    if timing is not None:
        with open(timing, "rb") as file:
            known = file.read()
    folder = engines.work_path(root, digest_of(key))
    with contextlib.suppress(FileNotFoundError):  # what a builder that died left
        shutil.rmtree(folder)
    make_folder(folder)
    if known:
        with open(os.path.join(folder, engines.TIMING), "wb") as file:
            file.write(known)
    package = [entry for entry in live["runtimes"] if entry["name"] == "tensorrt" and entry["error"] is None]
    fields = {"key": key, "workspace_bytes": workspace, "warnings": warnings, "program": None if package else trtexec(), "lock": lock}
    with open(os.path.join(folder, "job.json"), "w+b") as request, open(os.path.join(folder, engines.LOG), "wb") as log:
        request.write(encode_job("engine.work", root, fields))
        request.seek(0)
        command = [sys.executable, "-u", sys.argv[0]]  # unbuffered: a killed builder's last words are in the log
        subprocess.Popen(command, stdin=request, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True, pass_fds=(lock,))


def _watch(root: str, digest: str, progress: Progress) -> None:
    """Tell of a builder's steps until it has ended."""
    told = None
    while engines.busy(root, digest):
        state = engines.read_json(os.path.join(engines.work_path(root, digest), STATE))
        if state is not None and state != told:
            progress(state["stage"], state["done"], state["total"])
            told = state
        time.sleep(POLL_S)
