"""Prove an artifact on the host: the very file, in its own runtime, against the float network.

The artifact runs in the same agent that runs on a board, in a process of its own: a bad file may
abort its process, never ours.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edgekit.dataset import Dataset
from edgekit.device import Address, Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.errors import BuildError, DeviceError, InputError
from edgekit.feed import Feed
from edgekit.graph import Graph
from edgekit.manifest import Golden
from edgekit.ondevice import samples
from edgekit.ondevice.accuracy import steps
from edgekit.pipeline import Progress, silent
from edgekit.runtimes import Artifact

__all__ = [
    "ARTIFACT",
    "Answers",
    "Reference",
    "answers",
    "check_labels",
    "class_count",
    "float_reference",
    "golden_files",
    "host_outputs",
    "wire_layout",
]

Array = np.ndarray[Any, np.dtype[Any]]

ARTIFACT = "artifact"
_RUN_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Answers:
    """What the evaluation set says, sample by sample.

    Attributes
    ----------
    float_predictions, artifact_predictions
        Index of the largest element of the first output; empty when that is no vector, for then it
        names no class.
    sqnr_db
        Power of the float outputs over that of the artifact's error, over all samples.
    """

    float_predictions: tuple[int, ...]
    artifact_predictions: tuple[int, ...]
    sqnr_db: float


def class_count(shape: tuple[int, ...]) -> int | None:
    """Return how many classes an output of this shape scores, or None when it is no vector and names no class."""
    return math.prod(shape[1:]) if sum(side > 1 for side in shape[1:]) <= 1 else None


def check_labels(graph: Graph, evaluation: Dataset) -> None:
    """Refuse labels that name no class of the network.

    Raises
    ------
    InputError
        A label is not below the number of classes.
    """
    classes = class_count(graph.outputs[0].shape)
    for number, label in enumerate(evaluation.labels or ()):
        if classes is not None and label >= classes:
            raise InputError(
                f"{evaluation.name}: sample {number} has label {label}, the model knows classes 0 to {classes - 1}",
                fix="labels count from 0, in the order of the model's outputs",
            )


@dataclass(frozen=True)
class Reference:
    """What artifacts are held against: the float network's first outputs on the evaluation set.

    Attributes
    ----------
    container
        The outputs, one sample each (`edgekit.ondevice.samples`).
    folder
        A private scratch folder; artifacts and their outputs go there.
    """

    evaluation: Dataset
    feed: Feed
    container: Path
    folder: Path


def float_reference(proto: onnx.ModelProto, evaluation: Dataset, feed: Feed, folder: Path, *, progress: Progress = silent) -> Reference:
    """Run the float network as its author left it, one sample at a time, and keep its first outputs in a file.

    Raises
    ------
    InputError
        onnxruntime does not run it.
    """
    container = folder / "float-outputs.npz"
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        output = session.get_outputs()[0].name

        def outputs() -> Iterator[samples.Sample]:
            for number, sample in enumerate(evaluation, start=1):
                yield {samples.ALONE: session.run([output], feed(sample))[0]}
                progress("run the float model", number, len(evaluation))

        samples.write(container, outputs())
    except (ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.RuntimeException, ort_errors.NotImplemented) as error:
        raise InputError(f"onnxruntime does not run the float model: {error}", fix="try the model in onnxruntime by itself") from error
    return Reference(evaluation, feed, container, folder)


def answers(artifact: Artifact, reference: Reference, *, progress: Progress = silent) -> Answers:
    """Run the artifact on the evaluation set and compare with float.

    Raises
    ------
    BuildError
        The runtime refuses the artifact, or dies of it.
    """
    path, outputs = reference.folder / ARTIFACT, reference.folder / "outputs.npz"
    path.write_bytes(artifact.data)
    wire = reference.feed.to_wire(layout=wire_layout(artifact, reference.feed))
    with _agent(reference.folder) as session:
        told = _infer(session, path, reference.evaluation.container, wire, outputs, progress=progress)
    layout = artifact.layouts.get(artifact.outputs[0].name, "as-is")
    classifies = class_count(artifact.outputs[0].shape) is not None
    predictions: list[tuple[int, int]] = []
    signal = noise = 0.0
    for want, raw in zip(_outputs(reference.container), _outputs(outputs), strict=True):
        got = _real(raw, told["output"])
        if layout == "nhwc" and got.ndim == 4:
            got = got.transpose(0, 3, 1, 2)
        got = got.reshape(want.shape)
        if classifies:
            predictions.append((int(np.argmax(want)), int(np.argmax(got))))
        signal += float(np.square(want, dtype=np.float64).sum())
        noise += float(np.square(want - got, dtype=np.float64).sum())
    return Answers(
        float_predictions=tuple(pair[0] for pair in predictions),
        artifact_predictions=tuple(pair[1] for pair in predictions),
        sqnr_db=10 * math.log10(signal / noise) if signal and noise else math.inf,
    )


def golden_files(
    artifact: Artifact, reference: Reference, golden: Golden, count: int, *, twin: Artifact | None = None
) -> tuple[dict[str, bytes], int]:
    """Return the files of the check on the device, by path, and its tolerance.

    The files are the first samples and the artifact's raw first outputs by each kind of kernels; the tolerance says how
    many quantization steps a board's answers may be away from the nearer of the two.

    Parameters
    ----------
    golden
        Names of the files, and the least tolerance.
    count
        How many samples.
    twin
        An artifact that rounds as other kernels of the board do; None runs the same one by the runtime's builtin kernels.

    Raises
    ------
    BuildError
        See ``answers``; or an output is not finite.
    """
    folder = reference.folder
    path, first = folder / ARTIFACT, folder / "golden-samples.npz"
    wire = reference.feed.to_wire(layout=wire_layout(artifact, reference.feed))
    samples.write(first, itertools.islice(reference.evaluation, count))
    files = {golden.samples: first.read_bytes()}
    found: list[list[Array]] = []
    with _agent(folder) as session:
        for name, one in ((golden.outputs, artifact), (golden.builtin_outputs, twin or artifact)):
            outputs = folder / f"golden-outputs-{len(found)}.npz"
            path.write_bytes(one.data)
            _infer(session, path, first, wire, outputs, builtin=bool(found) and twin is None)
            files[name] = outputs.read_bytes()
            found.append(list(_outputs(outputs)))
    # Kernels of other kinds round other halves the other way, and depth amplifies it: how far the two kinds here are
    # apart says how far others may be. Measured on Arm: XNNPACK answers as here, tflite-runtime 2.14 is up to as far
    # from the nearer set as they are from each other.
    apart = max(map(steps, *found))
    if not math.isfinite(apart):
        raise BuildError("the artifact's answers to the first samples are not all finite numbers")
    return files, min(max(golden.tolerance, math.ceil(2 * apart)), 255)


def wire_layout(artifact: Artifact, feed: Feed) -> str:
    """Return the layout that preprocessing must end in: the artifact's, when it knows one.

    Raises
    ------
    InputError
        An input that goes in as it is would have to be turned to channels last.
    """
    layouts = {name: artifact.layouts.get(name, "as-is") for name in (spec.name for spec in feed.inputs)}
    turned = [name for name, layout in layouts.items() if layout == "nhwc" and name not in feed.images]
    if turned:
        raise InputError(
            f"input {turned[0]!r} goes in as it is, and the artifact takes it with its channels last",
            fix='layout = "nchw" under [build], or name the input in inputs under [preprocess]',
        )
    return next((layouts[name] for name in feed.images if layouts[name] != "as-is"), feed.preprocess.layout)


def host_outputs(artifact: bytes, container: Path, wire: Mapping[str, Any], folder: Path) -> Iterator[Array]:
    """Yield an artifact's raw first outputs on this host, sample by sample.

    Parameters
    ----------
    wire
        How samples become inputs, as a manifest's ``preprocess`` has it.
    folder
        A private scratch folder.

    Raises
    ------
    BuildError
        It does not run here.
    """
    path, outputs = folder / ARTIFACT, folder / "host-outputs.npz"
    path.write_bytes(artifact)
    with _agent(folder) as session:
        _infer(session, path, container, wire, outputs)
    return _outputs(outputs)


@contextmanager
def _agent(folder: Path) -> Iterator[AgentSession]:
    device = Device(name="host", address=Address.parse("local"), root=str(folder / "root"))
    try:
        with connect(device) as connection, AgentSession(connection, device) as session:
            yield session
    except DeviceError as error:
        raise BuildError(f"the artifact does not run on this host: {error.message}", fix=error.fix) from error


def _infer(
    session: AgentSession,
    artifact: Path,
    container: Path,
    wire: Mapping[str, Any],
    outputs: Path,
    *,
    builtin: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    return session.job(
        "infer",
        timeout_s=_RUN_TIMEOUT_S,
        progress=progress,
        artifact=str(artifact),
        preprocess=dict(wire),
        samples=str(container),
        outputs=str(outputs),
        threads=1,
        builtin=builtin,
    )


def _outputs(container: Path) -> Iterator[Array]:
    return (output[samples.ALONE] for output in samples.read(container))


def _real(raw: Array, output: Mapping[str, Any]) -> Array:
    """Return the real values that an output of the artifact stands for."""
    if raw.dtype.kind not in "iu":
        return raw
    values: Array = (raw.astype(np.float32) - output["zero_point"]) * output["scale"]
    return values
