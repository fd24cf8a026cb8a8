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

import msgspec
import numpy as np

from edgekit.dataset import Dataset
from edgekit.device import Address, Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.errors import BuildError, DeviceError, InputError
from edgekit.feed import Feed
from edgekit.graph import Graph
from edgekit.manifest import Golden
from edgekit.metrics import Statistics
from edgekit.ondevice import samples
from edgekit.ondevice.accuracy import steps
from edgekit.outputs import OutputTable, real_outputs
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.reference import Reference
from edgekit.runtimes import Artifact

__all__ = ["ARTIFACT", "Answers", "answers", "check_labels", "class_count", "golden_files", "host_outputs", "wire_layout"]

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
        Power of the first float output over that of the artifact's error, over all samples.
    statistics
        What the metric keeps of the artifact's answers; None where predictions are enough to judge by.
    """

    float_predictions: tuple[int, ...]
    artifact_predictions: tuple[int, ...]
    sqnr_db: float
    statistics: Statistics | None = None


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
    tables = msgspec.convert(told["outputs"], tuple[OutputTable, ...])

    names = (samples.ALONE,) if len(tables) == 1 else tuple(table.name for table in tables)

    def real() -> Iterator[dict[str, Array]]:
        return real_outputs(outputs, names, tables, artifact.outputs, artifact.layouts)

    first, scorer = artifact.outputs[0].name, reference.scorer
    classifies = class_count(artifact.outputs[0].shape) is not None
    predictions: list[tuple[int, int]] = []
    signal = noise = 0.0
    for wanted, found in zip(reference.outputs(), real(), strict=True):
        want = wanted[reference.names[0]]
        got = found[first].reshape(want.shape)
        if classifies:
            predictions.append((int(np.argmax(want)), int(np.argmax(got))))
        signal += float(np.square(want, dtype=np.float64).sum())
        noise += float(np.square(want - got, dtype=np.float64).sum())
    return Answers(
        float_predictions=tuple(pair[0] for pair in predictions),
        artifact_predictions=tuple(pair[1] for pair in predictions),
        sqnr_db=10 * math.log10(signal / noise) if signal and noise else math.inf,
        statistics=scorer(real(), reference.truths()) if scorer else None,
    )


def golden_files(
    artifact: Artifact, reference: Reference, golden: Golden, count: int, *, twin: Artifact | None = None
) -> tuple[dict[str, bytes], int]:
    """Return the files of the check on the device, by path, and its tolerance.

    The files are the first samples and the artifact's raw outputs by each kind of kernels; the tolerance says how
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
    found: list[list[samples.Sample]] = []
    with _agent(folder) as session:
        for name, one in ((golden.outputs, artifact), (golden.builtin_outputs, twin or artifact)):
            outputs = folder / f"golden-outputs-{len(found)}.npz"
            path.write_bytes(one.data)
            _infer(session, path, first, wire, outputs, builtin=bool(found) and twin is None)
            files[name] = outputs.read_bytes()
            found.append(list(samples.read(outputs)))
    # Kernels of other kinds round other halves the other way, and depth amplifies it: how far the two kinds here are
    # apart says how far others may be. Measured on Arm: XNNPACK answers as here, tflite-runtime 2.14 is up to as far
    # from the nearer set as they are from each other.
    apart = max(steps(one[name], other[name]) for one, other in zip(*found, strict=True) for name in one)
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
        first = str(_infer(session, path, container, wire, outputs)["outputs"][0]["name"])
    return (next(iter(answer.values())) if len(answer) == 1 else answer[first] for answer in samples.read(outputs))


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
