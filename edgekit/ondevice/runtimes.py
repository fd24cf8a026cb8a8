"""Which inference runtimes are installed, and importing one of them.

The folder that a kind's link names (``runtimes/current``, ...) comes first on the path. What can be imported is asked in a process of its
own: a bad library aborts its process. TensorRT is the system's: edgekit installs none, and finds its Python package and `trtexec`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from typing import Any

from .disk import hold
from .wire import IMPORT_TIMEOUT_S, AgentError

# Kind, distribution and module; of a kind, the one that is still maintained first.
RUNTIMES = (
    ("tflite", "ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite", "tflite-runtime", "tflite_runtime.interpreter"),
    ("onnxruntime", "onnxruntime", "onnxruntime"),
    ("tensorrt", "tensorrt", "tensorrt"),
)
# The link to the runtime that edgekit installed and chose, in `runtimes`.
LINKS = {"tflite": "current", "onnxruntime": "current-onnxruntime"}
# Where NVIDIA's packages put it, out of PATH (TensorRT documentation, "trtexec").
TRTEXEC = "/usr/src/tensorrt/bin/trtexec"
# Its first line; before release 10 the number is 1000 * major + 100 * minor + patch, then 10000 * major (NvInferVersion.h,
# NV_TENSORRT_VERSION). "[TensorRT v8502]", "[TensorRT v100300]", "[TensorRT v101602] [b10]"; a dotted number is taken as it is.
BANNER = re.compile(r"\[TensorRT v(\d+(?:\.\d+)*)\](?: \[b(\d+)\])?")

_imported: dict[str, tuple[str, str | None, Any]] = {}  # by kind


def runtime_folder(root: str, kind: str) -> str | None:
    """Return the folder of the runtime of a kind that edgekit installed and chose, or None."""
    folder = os.path.realpath(os.path.join(root, "runtimes", LINKS[kind])) if kind in LINKS else ""
    return folder if os.path.isdir(folder) else None


def version_of(distribution: str, paths: list[str]) -> str | None:
    """Return a distribution's version without importing it."""
    return next((found.version for found in importlib.metadata.distributions(name=distribution, path=paths)), None)


def runtimes_in(folder: str | None, only: str | None = None) -> list[dict[str, Any]]:
    """List the runtimes in a folder, or without one in this interpreter, each with what an import says; ``only`` those of a kind."""
    paths, lock = (sys.path, None) if folder is None else ([folder], os.path.basename(folder))
    found = []
    for kind, name, module in RUNTIMES:
        if only in (None, kind) and importlib.machinery.PathFinder.find_spec(module.partition(".")[0], paths) is not None:
            version, error = _import(module, folder)
            version = version or version_of(name, paths) or "unknown"
            found.append({"kind": kind, "name": name, "version": version, "lock": lock, "error": error})
    return found


def trtexec() -> str | None:
    """Return the path of TensorRT's program, one on PATH first."""
    return shutil.which("trtexec") or shutil.which(TRTEXEC)


def programs() -> list[dict[str, Any]]:
    """List the runtimes that are programs: TensorRT's, with the version that it says."""
    path = trtexec()
    if path is None:
        return []
    said, error = _output([path, "--help"])
    version = _trtexec_version(said)
    if error is None and version is None:
        error = "%s does not say which TensorRT it is of: %.200r" % (path, said)
    return [{"kind": "tensorrt", "name": "trtexec", "version": version or "unknown", "lock": None, "error": error}]


def _trtexec_version(said: str) -> str | None:
    found = BANNER.search(said)
    if found is None:
        return None
    text, build = found.groups()
    if "." in text:
        return text
    number, unit = int(text), 10_000 if len(text) > 4 else 1_000
    parts = [number // unit, number % unit // 100, number % 100]
    return ".".join(map(str, parts + ([int(build)] if build else [])))


def import_runtime(root: str, kind: str) -> tuple[dict[str, Any], Any]:
    """Import the best runtime of a kind; return its name and version, and its module.

    A process keeps the one it has imported, and holds its folder until it ends, whatever becomes current meanwhile.
    """
    if kind not in _imported:
        _imported[kind] = _import_here(_held_folder(root, kind), kind)
    name, version, module = _imported[kind]
    return {"name": name, "version": version}, module


def _held_folder(root: str, kind: str) -> str | None:
    """Return the folder of the runtime, held for good: what is held and still current was not removed in between."""
    while True:
        folder = runtime_folder(root, kind)
        if folder is None:
            return None
        with contextlib.suppress(FileNotFoundError):
            handle = hold(folder)
            if runtime_folder(root, kind) == folder:
                return folder
            os.close(handle)


def _import_here(folder: str | None, kind: str) -> tuple[str, str | None, Any]:
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
            return name, version_of(name, sys.path), found
    raise AgentError("runtime-missing", "no %s runtime: %s cannot be found" % (kind, " or ".join(names)))


def _import(module: str, folder: str | None) -> tuple[str | None, str | None]:
    """Import a runtime in a process of its own; return the version it says and, when that failed, the end of what it said."""
    # Its package's own word comes before the metadata, which a virtual environment may hide or another installation may have left.
    code = "import sys; sys.path[:0] = sys.argv[1:]; import %s; print('\\nversion', getattr(%s, '__version__', ''))"
    said, error = _output([sys.executable, "-c", code % (module, module.partition(".")[0])] + ([folder] if folder else []))
    return said.rpartition("\nversion ")[2].strip() if error is None else None, error


def _output(command: list[str]) -> tuple[str, str | None]:
    """Run a command; return its stdout and, when it failed, the end of what it said."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=IMPORT_TIMEOUT_S, check=False, cwd="/")
    except OSError as refused:
        return "", str(refused)
    except subprocess.TimeoutExpired:
        return "", "it did not answer within %d s" % IMPORT_TIMEOUT_S
    said, error = done.stderr.decode("utf-8", "replace").strip()[-800:].strip(), None
    if done.returncode < 0:
        error = "killed by signal %d %s" % (-done.returncode, said)
    elif done.returncode:
        error = said or "status %d" % done.returncode
    return done.stdout.decode("utf-8", "replace"), error
