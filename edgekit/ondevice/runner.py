"""The TFLite runtime: which are installed, and one opened artifact.

The folder that ``runtimes/current`` names comes first on the path. What can be imported is asked in a process of its own: a bad library
aborts its process.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import os
import subprocess
import sys
import time
from typing import Any

from .inputs import encode
from .releases import read_link
from .samples import Sample
from .store import MANIFEST, read_manifest, release_path, whole
from .wire import DIGEST, IMPORT_TIMEOUT_S, NAME, AgentError, integer, matching

GOLDEN = ("samples", "outputs", "builtin_outputs")  # the manifest's golden files
# Distribution and package, the one that is still maintained first.
RUNTIMES = (("ai-edge-litert", "ai_edge_litert"), ("tflite-runtime", "tflite_runtime"))


def runtime_folder(root: str) -> str | None:
    """Return the folder of the runtime that edgekit installed and chose, or None."""
    folder = os.path.realpath(os.path.join(root, "runtimes", "current"))
    return folder if os.path.isdir(folder) else None


def version_of(distribution: str, paths: list[str]) -> str | None:
    """Return a distribution's version without importing it."""
    return next((found.version for found in importlib.metadata.distributions(name=distribution, path=paths)), None)


def runtimes_in(folder: str | None) -> list[dict[str, Any]]:
    """List the runtimes in a folder, or without one in this interpreter, each with what an import says."""
    paths, lock = (sys.path, None) if folder is None else ([folder], os.path.basename(folder))
    found = [entry for entry in RUNTIMES if importlib.machinery.PathFinder.find_spec(entry[1], paths) is not None]
    versions = [version_of(name, paths) or "unknown" for name, _ in found]
    return [
        {"name": name, "version": version, "lock": lock, "error": _import_failure(package, folder)}
        for (name, package), version in zip(found, versions)
    ]


def _import_failure(package: str, folder: str | None) -> str | None:
    """Import a runtime in a process of its own; return the end of what it said when that failed."""
    code = "import sys; sys.path[:0] = sys.argv[1:]; import %s.interpreter" % package
    command = [sys.executable, "-c", code] + ([folder] if folder else [])
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=IMPORT_TIMEOUT_S, check=False, cwd="/")
    except subprocess.TimeoutExpired:
        return "the import did not end within %d s" % IMPORT_TIMEOUT_S
    said = done.stderr.decode("utf-8", "replace").strip()[-800:].strip()
    if done.returncode < 0:
        return "killed by signal %d %s" % (-done.returncode, said)
    return (said or "status %d" % done.returncode) if done.returncode else None


class Runner:
    """An artifact, opened: set its inputs, invoke it, get its first output. ``load_ns`` leaves the imports out.

    ``builtin`` keeps to the runtime's own kernels, which round otherwise than XNNPACK's.
    """

    def __init__(self, root: str, artifact: str, threads: int, builtin: bool = False) -> None:
        with open(artifact, "rb") as file:
            magic = file.read(8)[4:]
        if magic != b"TFL3":  # the flatbuffer's file identifier, schema.fbs
            raise AgentError("input", "%s is no .tflite file" % artifact)
        name, module = _import_runtime(runtime_folder(root))
        self.runtime = {"name": name, "version": version_of(name, sys.path)}
        started = time.perf_counter_ns()
        try:
            kernels = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if builtin else module.OpResolverType.AUTO
            self._interpreter = module.Interpreter(model_path=artifact, num_threads=threads, experimental_op_resolver_type=kernels)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise AgentError("runtime-failed", "%s does not open %s: %s" % (name, artifact, error)) from error
        self.load_ns = time.perf_counter_ns() - started
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if not inputs or not outputs:
            raise AgentError("input", "%s has %d inputs and %d outputs; one of each is needed" % (artifact, len(inputs), len(outputs)))
        self._input_indices, self._output_index = [details["index"] for details in inputs], outputs[0]["index"]
        self.inputs, self.output = [_describe(details) for details in inputs], _describe(outputs[0])
        # No delegate was asked for, so one that took over part of the graph can only be the runtime's default.
        operators: list[dict[str, Any]] = getattr(self._interpreter, "_get_ops_details", list)()
        self.delegate = "xnnpack" if any(operator.get("op_name") == "DELEGATE" for operator in operators) else None

    def set(self, sample: Sample) -> None:
        """Set the inputs from preprocessed arrays by name; see `edgekit.ondevice.inputs`."""
        for index, value in zip(self._input_indices, encode(self.inputs, sample)):
            self._interpreter.set_tensor(index, value)

    def invoke(self) -> None:
        """Run the network once."""
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise AgentError("runtime-failed", "the network does not run: %s" % error) from error

    def get(self) -> Any:
        """Return the first output, a copy, as it is in the artifact."""
        return self._interpreter.get_tensor(self._output_index)


def _import_runtime(folder: str | None) -> tuple[str, Any]:
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    for name, package in RUNTIMES:
        try:
            return name, importlib.import_module(package + ".interpreter")
        except ImportError as error:
            if not (isinstance(error, ModuleNotFoundError) and error.name == package):
                raise AgentError("runtime-failed", "%s cannot be imported: %s" % (name, error)) from error
    raise AgentError("runtime-missing", "no TFLite runtime: neither %s" % " nor ".join(name for name, _ in RUNTIMES))


def _describe(details: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    scales, points = (details["quantization_parameters"][key] for key in ("scales", "zero_points"))
    if len(scales) > 1:
        raise AgentError("input", "%s is quantized per channel; an input or output has one scale" % details["name"])
    scale, point = (float(scales[0]), int(points[0])) if len(scales) else (None, None)
    kind, shape = np.dtype(details["dtype"]).name, details["shape"].tolist()
    return {"name": details["name"], "dtype": kind, "scale": scale, "zero_point": point, "shape": shape}


def open_release(job: dict[str, Any], root: str) -> tuple[dict[str, Any], dict[str, Any], Runner]:
    """Open the release that a job names, or the current one; return its ``preprocess``, its ``golden`` with full paths, and a runner."""
    app = matching(job.get("app"), NAME, "app")
    release = read_link(root, app, "current") if job.get("release") is None else matching(job["release"], DIGEST, "release")
    wrong = "it has no active one" if release is None else whole(root, app, release, digests=False)
    if release is None or wrong:
        raise AgentError("state", "release %.12s of %s cannot be run: %s" % (release or "-", app, wrong), "deploy it")
    folder = release_path(root, app, release)
    manifest, files = read_manifest(os.path.join(folder, MANIFEST))
    golden, preprocess = manifest.get("golden"), manifest.get("preprocess")
    golden = golden if isinstance(golden, dict) else {}
    paths = [manifest.get("artifact"), *(golden.get(key) for key in GOLDEN)]
    if not isinstance(preprocess, dict) or not all(isinstance(path, str) and path in files for path in paths):
        raise AgentError("input", "the manifest of %.12s must have a preprocess, an artifact and golden files that it lists" % release)
    artifact, *kept = (os.path.join(folder, str(path)) for path in paths)
    return preprocess, {**golden, **dict(zip(GOLDEN, kept))}, Runner(root, artifact, integer(job, "threads", 1, 256, 1))
