"""Which inference runtimes are installed, and importing one of them.

The folder that a kind's link names (``runtimes/current``, ...) comes first on the path. What can be imported is asked in a process of its
own: a bad library aborts its process.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import os
import subprocess
import sys
from typing import Any

from .wire import IMPORT_TIMEOUT_S, AgentError

# Kind, distribution and module; of a kind, the one that is still maintained first.
RUNTIMES = (
    ("tflite", "ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite", "tflite-runtime", "tflite_runtime.interpreter"),
    ("onnxruntime", "onnxruntime", "onnxruntime"),
)
# The link to the runtime that edgekit installed and chose, in `runtimes`.
LINKS = {"tflite": "current", "onnxruntime": "current-onnxruntime"}


def runtime_folder(root: str, kind: str) -> str | None:
    """Return the folder of the runtime of a kind that edgekit installed and chose, or None."""
    folder = os.path.realpath(os.path.join(root, "runtimes", LINKS[kind]))
    return folder if os.path.isdir(folder) else None


def version_of(distribution: str, paths: list[str]) -> str | None:
    """Return a distribution's version without importing it."""
    return next((found.version for found in importlib.metadata.distributions(name=distribution, path=paths)), None)


def runtimes_in(folder: str | None) -> list[dict[str, Any]]:
    """List the runtimes in a folder, or without one in this interpreter, each with what an import says."""
    paths, lock = (sys.path, None) if folder is None else ([folder], os.path.basename(folder))
    return [
        {
            "kind": kind,
            "name": name,
            "version": version_of(name, paths) or "unknown",
            "lock": lock,
            "error": _import_failure(module, folder),
        }
        for kind, name, module in RUNTIMES
        if importlib.machinery.PathFinder.find_spec(module.partition(".")[0], paths) is not None
    ]


def import_runtime(root: str, kind: str) -> tuple[dict[str, Any], Any]:
    """Import the best runtime of a kind; return its name and version, and its module."""
    folder = runtime_folder(root, kind)
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    names = []
    for _, name, module in (entry for entry in RUNTIMES if entry[0] == kind):
        names.append(name)
        try:
            found = importlib.import_module(module)
        except ImportError as error:
            if not (isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]):
                raise AgentError("runtime-failed", "%s cannot be imported: %s" % (name, error)) from error
        else:
            return {"name": name, "version": version_of(name, sys.path)}, found
    raise AgentError("runtime-missing", "no %s runtime: %s cannot be found" % (kind, " or ".join(names)))


def _import_failure(module: str, folder: str | None) -> str | None:
    """Import a runtime in a process of its own; return the end of what it said when that failed."""
    code = "import sys; sys.path[:0] = sys.argv[1:]; import %s" % module
    command = [sys.executable, "-c", code] + ([folder] if folder else [])
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=IMPORT_TIMEOUT_S, check=False, cwd="/")
    except subprocess.TimeoutExpired:
        return "the import did not end within %d s" % IMPORT_TIMEOUT_S
    said = done.stderr.decode("utf-8", "replace").strip()[-800:].strip()
    if done.returncode < 0:
        return "killed by signal %d %s" % (-done.returncode, said)
    return (said or "status %d" % done.returncode) if done.returncode else None
