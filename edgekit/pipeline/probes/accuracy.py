"""The probe ``accuracy``: the evaluation set on the board, held against the float network sample by sample."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from edgekit.accuracy import accuracy_measurements, score_measurements, slice_measurements
from edgekit.dataset import Dataset
from edgekit.devices.transfer import send
from edgekit.digest import sha256_file
from edgekit.errors import DeviceError, InputError
from edgekit.evaluation import STATISTICS, Evaluation
from edgekit.measurement import Findings
from edgekit.metrics import Array, Metric, Statistics, collect, ratio
from edgekit.metrics.classes import TOP1
from edgekit.metrics.scoring import Scorer
from edgekit.pipeline import Progress
from edgekit.pipeline.boardoutputs import board_outputs
from edgekit.pipeline.evaluation import evaluation_of, kept_of
from edgekit.pipeline.probes import Options, Probe
from edgekit.pipeline.undertest import UnderTest
from edgekit.pipeline.verify import class_count

__all__ = ["PROBE"]

_TIMEOUT_S = 3600.0
_SLICES_MAX = 100


class AccuracyOptions(Options, frozen=True):
    """Run the project's [evaluation] set on DEVICE and judge it against the float model, sample by sample."""

    by: Annotated[str, msgspec.Meta(description="Column of the evaluation set to slice by: the metric of each of its values.")] = ""


@dataclass(frozen=True)
class _Scored:
    """What the metric keeps of the float network on the host and of the artifact on the board, and what is found with it."""

    metric: Metric
    before: Statistics | None
    after: Statistics | None
    findings: Findings


def _measure(under: UnderTest, options: AccuracyOptions, progress: Progress) -> Findings:
    """Send the evaluation set, which must be the one that the bundle was built with, and judge the board's answers."""
    with tempfile.TemporaryDirectory(prefix="edgekit-probe-") as scratch:
        container = Path(scratch) / "evaluation.npz"
        evaluation, record = evaluation_of(under, container)
        slices = _slices(evaluation, options.by) if options.by else {}
        sha256 = sha256_file(container)
        send(under.session, {sha256: container}, progress=progress)
        if record.metric is msgspec.UNSET:
            scored = _predicted(under, record, sha256, progress)
        else:
            scored = _answered(under, record, evaluation, sha256, Path(scratch), progress)
    if not slices:
        return scored.findings
    if scored.before is None or scored.after is None:
        raise InputError("the samples have no labels, so there is nothing to slice", fix="leave --by out")
    sliced = slice_measurements(scored.metric, scored.before, scored.after, options.by, slices)
    return msgspec.structs.replace(scored.findings, measurements=(*scored.findings.measurements, *sliced.measurements))


def _slices(evaluation: Dataset, column: str) -> Mapping[str, Array]:
    if column not in evaluation.columns:
        known = ", ".join(sorted(evaluation.columns)) or "none"
        raise InputError(f"{evaluation.name} has no column {column!r}", fix=f"its columns are: {known}; see docs/metrics.md")
    texts = np.array(evaluation.columns[column])
    values = sorted(set(evaluation.columns[column]))
    if len(values) > _SLICES_MAX:
        raise InputError(f"the column {column!r} has {len(values)} values, and up to {_SLICES_MAX} are told apart")
    return {value: texts == value for value in values}


def _predicted(under: UnderTest, record: Evaluation, sha256: str, progress: Progress) -> _Scored:
    """Judge top-1 by the classes that the board tells: no output needs to travel."""
    answer = under.job("probe.accuracy", timeout_s=_TIMEOUT_S, progress=progress, samples=sha256)
    predictions = _predictions(answer, len(record.float_predictions), under.address)
    drop = under.manifest.budget.accuracy_drop_max
    classes = _classes(under, under.manifest.outputs[0].name)
    chance = 1 / classes if classes else None
    findings = accuracy_measurements(record.labels, record.float_predictions, predictions, accuracy_drop_max=drop, chance=chance)
    if record.labels is None:
        return _Scored(TOP1, None, None, findings)
    before, after = (
        collect([ratio(float(said == true)) for said, true in zip(told, record.labels, strict=True)])
        for told in (record.float_predictions, predictions)
    )
    return _Scored(TOP1, before, after, findings)


def _answered(under: UnderTest, record: Evaluation, evaluation: Dataset, sha256: str, scratch: Path, progress: Progress) -> _Scored:
    """Judge another metric by the board's outputs, which are fetched and read as the host's are."""
    manifest, project = under.manifest, under.project
    names = [spec.name for spec in manifest.outputs]
    scorer = Scorer.of(project.evaluation.metric, project.postprocess, under.folder, manifest.preprocess, names)
    if (record.metric, record.method_sha256) != (project.evaluation.metric, scorer.method_sha256):
        raise InputError(
            f"the release {under.digest[:12]} was built with another metric or [postprocess]: {record.metric}",
            fix="edgekit build, then deploy again; or take back the old declaration",
        )
    kept = kept_of(under, scratch)
    if len(kept.before) != len(evaluation):
        raise InputError(f"{STATISTICS} is of {len(kept.before)} samples, not of {len(evaluation)}", fix="edgekit build, then deploy again")
    truths = evaluation.truths or ({"vector": vector} for vector in (kept.vectors if kept.vectors is not None else ()))
    after = scorer(board_outputs(under, sha256, len(evaluation), scratch, progress), truths)
    try:
        drop, classes = manifest.budget.accuracy_drop_max, _classes(under, scorer.output)
        findings = score_measurements(scorer.metric, kept.before, after, accuracy_drop_max=drop, classes=classes)
    except (ValueError, IndexError) as error:
        raise InputError(f"{STATISTICS} is not what {record.metric} keeps: {error}", fix="edgekit build, then deploy again") from error
    return _Scored(scorer.metric, kept.before, after, findings)


def _classes(under: UnderTest, output: str) -> int | None:
    """Return how many classes an output scores; None where it names none."""
    return class_count(next(spec for spec in under.manifest.outputs if spec.name == output).shape)


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
