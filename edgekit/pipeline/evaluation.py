"""The evaluation set of a release on a board: opened as the project declares it, and held against what the bundle was built with."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgekit.dataset import Dataset, open_dataset
from edgekit.errors import InputError
from edgekit.evaluation import EVALUATION, STATISTICS, Evaluation, Kept, read_statistics
from edgekit.manifest import FileEntry
from edgekit.metrics.scoring import find_metric
from edgekit.parse import from_json
from edgekit.pipeline.undertest import UnderTest

__all__ = ["evaluation_of", "kept_of"]


def evaluation_of(under: UnderTest, container: Path) -> tuple[Dataset, Evaluation]:
    """Open the project's evaluation set, and fetch what the host found on each of its samples when the bundle was built.

    Parameters
    ----------
    container
        Where the samples are written.

    Raises
    ------
    InputError
        There is none, or another than the bundle's, or the bundle's model is no classifier and no metric is declared for it.
    """
    section = under.project.evaluation
    if section.dataset is None:
        raise InputError("no evaluation set", fix='run in the project\'s folder, or write [evaluation] dataset = "..." in edgekit.toml')
    inputs, truth = [spec.name for spec in under.manifest.inputs], find_metric(section.metric, under.folder).truth
    evaluation = open_dataset(
        section.dataset, under.folder, container, skip=section.skip, count=section.samples, inputs=inputs, truth=truth
    )
    record = _record(under)
    if record.dataset_sha256 != evaluation.sha256:
        raise InputError(
            f"{evaluation.name} is not the evaluation set that the release {under.digest[:12]} was built with",
            fix="edgekit build, then deploy again; or take back the old [evaluation] set",
        )
    return evaluation, record


def _record(under: UnderTest) -> Evaluation:
    record = from_json(under.fetch(_entry(under, EVALUATION)), Evaluation, EVALUATION)
    if record.metric is msgspec.UNSET and not record.float_predictions:
        raise InputError(
            f"{under.manifest.name} is no classifier: its output names no class",
            fix='metric = "..." under [evaluation] names what it is to be judged by (docs/metrics.md), then edgekit build',
        )
    return record


def kept_of(under: UnderTest, scratch: Path) -> Kept:
    """Fetch what the bundle's metric keeps of the host's answers.

    Raises
    ------
    InputError
        The bundle does not hold it.
    """
    file = scratch / STATISTICS
    file.write_bytes(under.fetch(_entry(under, STATISTICS)))
    return read_statistics(file, STATISTICS)


def _entry(under: UnderTest, path: str) -> FileEntry:
    entry = next((e for e in under.manifest.files if e.path == path), None)
    if entry is None:
        raise InputError(f"the bundle {under.manifest.name} holds no {path}", fix="edgekit build, then deploy again")
    return entry
