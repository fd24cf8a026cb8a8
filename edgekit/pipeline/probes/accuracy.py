"""The probe ``accuracy``: the evaluation set on the board, held against the float network sample by sample."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from edgekit.accuracy import accuracy_measurements
from edgekit.dataset import open_dataset
from edgekit.devices.transfer import send
from edgekit.digest import sha256_file
from edgekit.errors import DeviceError, InputError
from edgekit.evaluation import EVALUATION, Evaluation
from edgekit.measurement import Findings
from edgekit.parse import from_json
from edgekit.pipeline import Progress
from edgekit.pipeline.probes import Options, Probe
from edgekit.pipeline.undertest import UnderTest

__all__ = ["PROBE"]

_TIMEOUT_S = 3600.0


class AccuracyOptions(Options, frozen=True):
    """Run the project's [evaluation] set on DEVICE and judge it against the float model, sample by sample."""


def _measure(under: UnderTest, options: AccuracyOptions, progress: Progress) -> Findings:
    """Send the evaluation set, which must be the one that the bundle was built with, and judge the board's predictions."""
    section = under.project.evaluation
    if section.dataset is None:
        raise InputError("no evaluation set", fix='run in the project\'s folder, or write [evaluation] dataset = "..." in edgekit.toml')
    with tempfile.TemporaryDirectory(prefix="edgekit-probe-") as scratch:
        container = Path(scratch) / "evaluation.npz"
        inputs = [spec.name for spec in under.manifest.inputs]
        evaluation = open_dataset(section.dataset, under.folder, container, skip=section.skip, count=section.samples, inputs=inputs)
        record = _record(under)
        if record.dataset_sha256 != evaluation.sha256:
            raise InputError(
                f"{evaluation.name} is not the evaluation set that the release {under.digest[:12]} was built with",
                fix="edgekit build, then deploy again; or take back the old [evaluation] set",
            )
        sha256 = sha256_file(container)
        send(under.session, {sha256: container}, progress=progress)
        answer = under.job("probe.accuracy", timeout_s=_TIMEOUT_S, progress=progress, samples=sha256)
    predictions = _predictions(answer, len(record.float_predictions), under.address)
    drop = under.manifest.budget.accuracy_drop_max
    return accuracy_measurements(record.labels, record.float_predictions, predictions, accuracy_drop_max=drop)


def _record(under: UnderTest) -> Evaluation:
    """Fetch what the host found on each evaluation sample."""
    entry = next((e for e in under.manifest.files if e.path == EVALUATION), None)
    if entry is None:
        raise InputError(f"the bundle {under.manifest.name} holds no {EVALUATION}", fix="edgekit build, then deploy again")
    record = from_json(under.fetch(entry), Evaluation, EVALUATION)
    if not record.float_predictions:
        raise InputError(f"{under.manifest.name} is no classifier: its output names no class", fix="edgekit probe latency measures it")
    return record


class _Answer(msgspec.Struct, frozen=True):
    predictions: tuple[int, ...]


def _predictions(answer: object, count: int, address: str) -> tuple[int, ...]:
    try:
        predictions = msgspec.convert(answer, _Answer).predictions
    except msgspec.ValidationError as error:
        raise DeviceError(f"{address}: the answer to probe.accuracy is malformed: {error}") from error
    if len(predictions) != count:
        raise DeviceError(f"{address}: {len(predictions)} predictions came back for {count} samples")
    return predictions


PROBE = Probe("accuracy", AccuracyOptions, _measure)
