"""An opened artifact, whatever its runtime; which runtime that is, its first bytes say."""

from __future__ import annotations

import abc
import os
from typing import Any, NamedTuple, Sequence

from .releases import read_link
from .samples import ALONE, Sample
from .store import MANIFEST, read_manifest, release_path, whole
from .wire import DIGEST, NAME, AgentError, integer, matching

GOLDEN = ("samples", "outputs", "builtin_outputs")  # the manifest's golden files
TFLITE = b"TFL3"  # the flatbuffer's file identifier, schema.fbs
ONNX = b"\x08"  # the tag of ir_version, field 1 of ModelProto, onnx.proto


class Runner(abc.ABC):
    """An artifact, opened: set its inputs, invoke it, get its outputs.

    ``load_ns`` leaves the imports out. ``inputs`` and ``outputs`` are tables, see `edgekit.ondevice.inputs`. ``delegate`` names what took
    part of the network over from the runtime's own kernels. ``gpu_memory_bytes`` is what opening took of a GPU's memory.
    """

    runtime: dict[str, Any]
    load_ns: int
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    delegate: str | None
    gpu_memory_bytes: int | None = None

    @abc.abstractmethod
    def set(self, sample: Sample) -> None:
        """Set the inputs from preprocessed arrays by name; see `edgekit.ondevice.inputs`."""

    @abc.abstractmethod
    def invoke(self) -> None:
        """Run the network once, and wait until its outputs are there."""

    @abc.abstractmethod
    def get(self, place: int = 0) -> Any:
        """Return an output, by default the first: a copy, as it is in the artifact."""

    @property
    def output(self) -> dict[str, Any]:
        """The first output's table."""
        return self.outputs[0]

    def answer(self) -> Sample:
        """Return all outputs by their names; the only one is ``x``, as in a sample container."""
        if len(self.outputs) == 1:
            return {ALONE: self.get()}
        return {table["name"]: self.get(place) for place, table in enumerate(self.outputs)}

    def parts_ns(self) -> dict[str, int]:
        """Return how long the parts of the last `invoke` took, by name; empty where the runtime does not tell."""
        return {}

    def close(self) -> None:  # noqa: B027  # where letting go of the object is enough
        """Let go of what Python alone would keep."""

    @staticmethod
    def check(artifact: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Refuse an artifact that takes or gives nothing."""
        if not inputs or not outputs:
            raise AgentError("input", "%s has %d inputs and %d outputs; one of each is needed" % (artifact, len(inputs), len(outputs)))


class Release(NamedTuple):
    """A release on the board: what it is fed with, its ``golden`` files with full paths, its artifact's path, the threads it is for."""

    preprocess: dict[str, Any]
    golden: dict[str, Any]
    artifact: str
    threads: int
    dla_core: int | None = None


def open_artifact(
    root: str, artifact: str, threads: int, builtin: bool = False, graph: bool = False, dla_core: int | None = None
) -> Runner:
    """Open an artifact in its runtime.

    ``builtin`` asks for the kernels that round otherwise than the default ones; ``graph``, for a CUDA graph, and ``dla_core`` are
    TensorRT's.
    """
    kind = kind_of(artifact)
    if kind == "tensorrt":
        from .tensorrt.runner import TensorRtRunner

        return TensorRtRunner(root, artifact, dla_core, graph)
    if graph:
        raise AgentError("usage", "a CUDA graph is asked for, and %s is no TensorRT engine" % artifact)
    if kind == "tflite":
        from .tflite import TfliteRunner

        return TfliteRunner(root, artifact, threads, builtin)
    from .onnx import OnnxRunner

    return OnnxRunner(root, artifact, threads, builtin)


def kind_of(artifact: str) -> str:
    """Return the kind of runtime that opens an artifact."""
    if is_engine(artifact):
        return "tensorrt"
    with open(artifact, "rb") as file:
        head = file.read(8)
    if head[4:] == TFLITE:
        return "tflite"
    if head[:1] == ONNX:
        return "onnxruntime"
    raise AgentError("input", "%s is neither a .tflite nor an .onnx file nor a .plan" % artifact)


def is_engine(artifact: str) -> bool:
    """Tell whether an artifact is a TensorRT engine: its first bytes are TensorRT's own business, its name is ours."""
    return artifact.endswith(".plan")


def find_release(job: dict[str, Any], root: str) -> Release:
    """Return the release that a job names, or the current one."""
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
    found = Release(preprocess, {**golden, **dict(zip(GOLDEN, kept))}, artifact, integer(manifest, "threads", 1, 1024, 1))
    if manifest.get("recipe") is None:
        return found
    from .tensorrt.release import plan_of

    return found._replace(artifact=plan_of(root, folder, manifest, files), dla_core=manifest["recipe"]["dla_core"])


def open_release(job: dict[str, Any], root: str) -> tuple[dict[str, Any], dict[str, Any], Runner]:
    """Open the release that a job names, or the current one; return its ``preprocess``, its ``golden`` with full paths, and a runner."""
    found = find_release(job, root)
    threads = integer(job, "threads", 1, 256, 1)
    return found.preprocess, found.golden, open_artifact(root, found.artifact, threads, dla_core=found.dla_core)
