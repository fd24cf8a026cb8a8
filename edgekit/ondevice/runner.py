"""The TFLite runtime: which are installed, and one opened artifact.

The folder that ``runtimes/current`` names comes first on the path; without it, whatever the interpreter has. numpy and the runtime are
imported only after that. `facts` and `wheels` ask what can be imported in a process of its own, for a bad library aborts its process.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from .releases import current_release
from .store import MANIFEST, read_manifest, release_path, whole
from .wire import NAME, PATH, AgentError, integer, matching, release_or_none

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    paths = sys.path if folder is None else [folder]
    return [
        {
            "name": name,
            "version": version_of(name, paths),
            "lock": None if folder is None else os.path.basename(folder),
            "error": import_failure(package, folder),
        }
        for name, package in RUNTIMES
        if importlib.machinery.PathFinder.find_spec(package, paths) is not None
    ]


def import_failure(package: str, folder: str | None) -> str | None:
    """Import a runtime in a process of its own; return the end of what it said when that failed."""
    code = "import sys; sys.path[:0] = sys.argv[1:]; import %s.interpreter" % package
    command = [sys.executable, "-c", code] + ([folder] if folder else [])
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False, cwd="/")
    except subprocess.TimeoutExpired:
        return "the import did not end within 300 s"
    if done.returncode == 0:
        return None
    said = done.stderr.decode("utf-8", "replace").strip()[-800:].strip()
    return said if done.returncode > 0 else "killed by signal %d %s" % (-done.returncode, said)


class Runner:
    """An artifact, opened: set its input, invoke it, get its first output.

    ``input`` and ``output`` are ``{"dtype", "scale", "zero_point", "shape"}``, scale and zero point null where not quantized;
    ``load_ns`` is opening the file and allocating the tensors, without the imports.
    """

    def __init__(self, root: str, artifact: str, threads: int) -> None:
        try:
            with open(artifact, "rb") as file:
                magic = file.read(8)[4:]
        except OSError as error:
            raise AgentError("input", "%s cannot be read: %s" % (artifact, error)) from error
        if magic != b"TFL3":  # the flatbuffer's file identifier, schema.fbs
            raise AgentError("input", "%s is no .tflite file" % artifact)
        self.name, module = _import_runtime(runtime_folder(root))
        self.version = version_of(self.name, sys.path)
        started = time.perf_counter_ns()
        try:
            self._interpreter = module.Interpreter(model_path=artifact, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise AgentError("runtime-failed", "%s %s does not open %s: %s" % (self.name, self.version, artifact, error)) from error
        self.load_ns = time.perf_counter_ns() - started
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or not outputs:
            raise AgentError("input", "%s has %d inputs and %d outputs; one input is needed" % (artifact, len(inputs), len(outputs)))
        self._dtype = inputs[0]["dtype"]
        self._input_index, self._output_index = inputs[0]["index"], outputs[0]["index"]
        self.input, self.output = _describe(inputs[0]), _describe(outputs[0])

    @property
    def delegate(self) -> str | None:
        """What took over part of the graph; none was asked for, so it can only be the runtime's default."""
        operators = list(getattr(self._interpreter, "_get_ops_details", list)())
        return "xnnpack" if any(operator.get("op_name") == "DELEGATE" for operator in operators) else None

    def set(self, value: NDArray[Any]) -> None:
        """Set the input from float32, rounding half to even where the artifact wants whole numbers."""
        import numpy as np

        if list(value.shape) != self.input["shape"]:
            raise AgentError("input", "the model wants %s, the preprocessed sample is %s" % (self.input["shape"], list(value.shape)))
        if self.input["scale"] is not None:
            value = np.rint(value / np.float32(self.input["scale"])) + self.input["zero_point"]
        if np.issubdtype(self._dtype, np.integer):
            bounds = np.iinfo(self._dtype)
            value = np.clip(np.rint(value), bounds.min, bounds.max)
        self._interpreter.set_tensor(self._input_index, value.astype(self._dtype, copy=False))

    def invoke(self) -> None:
        """Run the network once."""
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise AgentError("runtime-failed", "the network does not run: %s" % error) from error

    def get(self) -> NDArray[Any]:
        """Return the first output, a copy, as it is in the artifact."""
        output: NDArray[Any] = self._interpreter.get_tensor(self._output_index)
        return output


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
    return {
        "dtype": np.dtype(details["dtype"]).name,
        "scale": float(scales[0]) if len(scales) else None,
        "zero_point": int(points[0]) if len(scales) else None,
        "shape": [int(side) for side in details["shape"]],
    }


def open_release(job: dict[str, Any], root: str) -> tuple[str, dict[str, Any], Runner]:
    """Open the release that a job names, the current one if it names none; return its folder, manifest and runner."""
    app = matching(job.get("app"), NAME, "app")
    release = release_or_none(job) or current_release(root, app)
    wrong = whole(root, app, release, digests=False)
    if wrong:
        raise AgentError("state", "release %.12s of %s cannot be run: %s" % (release, app, wrong), "deploy it again")
    folder = release_path(root, app, release)
    manifest = read_manifest(os.path.join(folder, MANIFEST))
    try:
        artifact = matching(manifest.get("artifact"), PATH, "the manifest's artifact")
        golden = {key: matching(manifest["golden"][key], PATH, "the manifest's golden " + key) for key in ("samples", "outputs")}
        preprocess = dict(manifest["preprocess"])
    except (AgentError, KeyError, TypeError, ValueError) as error:
        raise AgentError("input", "the manifest of %.12s cannot be used: %s" % (release, error)) from error
    manifest["golden"].update({key: os.path.join(folder, path) for key, path in golden.items()})
    return folder, {**manifest, "preprocess": preprocess}, Runner(root, os.path.join(folder, artifact), integer(job, "threads", 1, 256, 1))
