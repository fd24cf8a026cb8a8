"""The probe ``accuracy``: the evaluation set on the board, held against the float network sample by sample."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from edgekit.accuracy import accuracy_measurements
from edgekit.devices.transfer import send
from edgekit.digest import sha256_file
from edgekit.errors import DeviceError
from edgekit.measurement import Findings
from edgekit.pipeline import Progress
from edgekit.pipeline.evaluation import evaluation_of
from edgekit.pipeline.probes import Options, Probe
from edgekit.pipeline.undertest import UnderTest

__all__ = ["PROBE"]

_TIMEOUT_S = 3600.0


class AccuracyOptions(Options, frozen=True):
    """Run the project's [evaluation] set on DEVICE and judge it against the float model, sample by sample."""


def _measure(under: UnderTest, options: AccuracyOptions, progress: Progress) -> Findings:
    """Send the evaluation set, which must be the one that the bundle was built with, and judge the board's predictions."""
    with tempfile.TemporaryDirectory(prefix="edgekit-probe-") as scratch:
        container = Path(scratch) / "evaluation.npz"
        _, record = evaluation_of(under, container)
        sha256 = sha256_file(container)
        send(under.session, {sha256: container}, progress=progress)
        answer = under.job("probe.accuracy", timeout_s=_TIMEOUT_S, progress=progress, samples=sha256)
    predictions = _predictions(answer, len(record.float_predictions), under.address)
    drop = under.manifest.budget.accuracy_drop_max
    return accuracy_measurements(record.labels, record.float_predictions, predictions, accuracy_drop_max=drop)


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
