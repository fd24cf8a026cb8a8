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

from edgekit.dataset import Dataset
from edgekit.device import Address, Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.errors import BuildError, DeviceError, InputError
from edgekit.graph import Graph
from edgekit.manifest import Golden
from edgekit.ondevice import samples
from edgekit.ondevice.accuracy import steps
from edgekit.pipeline import Progress, silent
from edgekit.preprocess import Preprocess
from edgekit.runtimes import Artifact

__all__ = ["Proof", "check_preprocess", "float_outputs", "prove", "wire_layout"]

Array = np.ndarray[Any, np.dtype[Any]]

_BATCH = 16
_RUN_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Proof:
    """What the evaluation set says, sample by sample.

    Attributes
    ----------
    labels
        None when the evaluation set has none.
    float_predictions, artifact_predictions
        Index of the largest element of the first output.
    sqnr_db
        Power of the float outputs over that of the artifact's error, over all samples.
    golden
        Files of the golden check by path: the first samples with the artifact's raw first outputs.
    golden_tolerance
        How many quantization steps a board's answers may be away from the nearer of the two sets.
    """

    labels: tuple[int, ...] | None
    float_predictions: tuple[int, ...]
    artifact_predictions: tuple[int, ...]
    sqnr_db: float
    golden: dict[str, bytes]
    golden_tolerance: int


def check_preprocess(graph: Graph, preprocess: Preprocess, dataset: Dataset) -> None:
    """Refuse a first sample that does not become what the network takes.

    Raises
    ------
    InputError
        The network has several inputs, or the preprocessed shape differs from the input's.
    """
    if len(graph.inputs) != 1:
        names = ", ".join(spec.name for spec in graph.inputs)
        raise InputError(
            f"the model has {len(graph.inputs)} inputs ({names})", fix="edgekit builds models with one input; export such a one"
        )
    sample = next(iter(dataset))
    got = preprocess.apply(sample.x).shape
    want = graph.inputs[0].shape
    if got != want:
        raise InputError(
            f"{sample.origin}: after [preprocess] its shape is {list(got)}, the model's input {graph.inputs[0].name!r} takes {list(want)}",
            fix="set resize, crop or layout under [preprocess]",
        )


def float_outputs(proto: onnx.ModelProto, dataset: Dataset, preprocess: Preprocess) -> Iterator[Array]:
    """Run the float network as its author left it; one first output per sample, batch axis kept."""
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    entry = session.get_inputs()[0]
    # An open leading dimension is a name or None; a fixed one is a number.
    size = 1 if isinstance(entry.shape[0], int) else _BATCH
    output = session.get_outputs()[0].name
    pending: list[Array] = []

    def run() -> Iterator[Array]:
        (result,) = session.run([output], {entry.name: np.concatenate(pending)})
        pending.clear()
        yield from np.split(result, len(result)) if size > 1 else [result]

    for sample in dataset:
        pending.append(preprocess.apply(sample.x))
        if len(pending) == size:
            yield from run()
    if pending:
        yield from run()


def prove(
    artifact: Artifact,
    proto: onnx.ModelProto,
    evaluation: Dataset,
    preprocess: Preprocess,
    *,
    golden: Golden,
    folder: Path,
    progress: Progress,
) -> Proof:
    """Run artifact and float network on the same samples.

    Parameters
    ----------
    golden
        How many of the first samples to keep for the check on the device, in which files, and the least tolerance.
    folder
        A private scratch folder; the artifact and its outputs stay there.

    Raises
    ------
    BuildError
        The runtime refuses the artifact, or dies of it.
    """
    path = folder / "artifact"
    path.write_bytes(artifact.data)
    wire = preprocess.to_wire(layout=wire_layout(artifact, preprocess))
    everything, first = folder / "samples.npz", folder / "golden-samples.npz"
    samples.write(str(everything), (sample.x for sample in evaluation))
    samples.write(str(first), (sample.x for sample in itertools.islice(evaluation, golden.count)))
    with _agent(folder) as session:
        answer = _infer(session, path, everything, wire, progress=progress)
        files, answers = {golden.samples: first.read_bytes()}, []
        for name, builtin in ((golden.outputs, False), (golden.builtin_outputs, True)):
            _infer(session, path, first, wire, builtin=builtin)
            files[name] = _outputs(first).read_bytes()
            answers.append(list(samples.read(_outputs(first))))
    # Kernels of other kinds round other halves the other way, and depth amplifies it: how far the two kinds here are apart says how far
    # others may be. Measured on Arm: XNNPACK answers as here, tflite-runtime 2.14 is up to as far from the nearer set as they from each other.
    apart = max(map(steps, *answers))
    if not math.isfinite(apart):
        raise BuildError("the artifact's answers to the first samples are not all finite numbers")
    layout = artifact.layouts.get(artifact.outputs[0].name, "as-is")
    predictions: list[int] = []
    signal = noise = 0.0
    references = float_outputs(proto, evaluation, preprocess)
    for number, (want, raw) in enumerate(zip(references, samples.read(_outputs(everything)), strict=True)):
        got = _real(raw, answer["output"])
        if layout == "nhwc" and got.ndim == 4:
            got = got.transpose(0, 3, 1, 2)
        predictions.append(int(np.argmax(want)))
        signal += float(np.square(want, dtype=np.float64).sum())
        noise += float(np.square(want - got.reshape(want.shape), dtype=np.float64).sum())
        progress("compare with float", number + 1, len(evaluation))
    return Proof(
        labels=evaluation.labels,
        float_predictions=tuple(predictions),
        artifact_predictions=tuple(answer["predictions"]),
        sqnr_db=10 * math.log10(signal / noise) if signal and noise else math.inf,
        golden=files,
        golden_tolerance=max(golden.tolerance, math.ceil(2 * apart)),
    )


def wire_layout(artifact: Artifact, preprocess: Preprocess) -> str:
    """Return the layout that preprocessing must end in: the artifact's, when it knows one."""
    (entry,) = artifact.inputs
    layout = artifact.layouts.get(entry.name, "as-is")
    return preprocess.layout if layout == "as-is" else layout


@contextmanager
def _agent(folder: Path) -> Iterator[AgentSession]:
    device = Device(name="host", address=Address.parse("local"), root=str(folder / "root"))
    try:
        with connect(device) as connection, AgentSession(connection, device) as session:
            yield session
    except DeviceError as error:
        raise BuildError(f"the artifact does not run on this host: {error.message}", fix=error.fix) from error


def _infer(
    session: AgentSession, artifact: Path, container: Path, wire: Mapping[str, Any], *, builtin: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    return session.job(
        "infer",
        timeout_s=_RUN_TIMEOUT_S,
        progress=progress,
        artifact=str(artifact),
        preprocess=dict(wire),
        samples=str(container),
        outputs=str(_outputs(container)),
        threads=1,
        builtin=builtin,
    )


def _outputs(container: Path) -> Path:
    """Return where the answers to a container's samples are written."""
    return container.with_name(f"{container.stem}-outputs.npz")


def _real(raw: Array, output: Mapping[str, Any]) -> Array:
    """Return the real values that an output of the artifact stands for."""
    if raw.dtype.kind not in "iu":
        return raw
    values: Array = (raw.astype(np.float32) - output["zero_point"]) * output["scale"]
    return values
