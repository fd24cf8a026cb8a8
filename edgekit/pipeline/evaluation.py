"""The evaluation set of a release on a board: opened as the project declares it, and held against what the bundle was built with."""

from __future__ import annotations

from pathlib import Path

from edgekit.dataset import Dataset, open_dataset
from edgekit.errors import InputError
from edgekit.evaluation import EVALUATION, Evaluation
from edgekit.parse import from_json
from edgekit.pipeline.undertest import UnderTest

__all__ = ["evaluation_of"]


def evaluation_of(under: UnderTest, container: Path) -> tuple[Dataset, Evaluation]:
    """Open the project's evaluation set, and fetch what the host found on each of its samples when the bundle was built.

    Parameters
    ----------
    container
        Where the samples are written.

    Raises
    ------
    InputError
        There is none, or another than the bundle's, or the bundle's model is no classifier.
    """
    section = under.project.evaluation
    if section.dataset is None:
        raise InputError("no evaluation set", fix='run in the project\'s folder, or write [evaluation] dataset = "..." in edgekit.toml')
    inputs = [spec.name for spec in under.manifest.inputs]
    evaluation = open_dataset(section.dataset, under.folder, container, skip=section.skip, count=section.samples, inputs=inputs)
    record = _record(under)
    if record.dataset_sha256 != evaluation.sha256:
        raise InputError(
            f"{evaluation.name} is not the evaluation set that the release {under.digest[:12]} was built with",
            fix="edgekit build, then deploy again; or take back the old [evaluation] set",
        )
    return evaluation, record


def _record(under: UnderTest) -> Evaluation:
    entry = next((e for e in under.manifest.files if e.path == EVALUATION), None)
    if entry is None:
        raise InputError(f"the bundle {under.manifest.name} holds no {EVALUATION}", fix="edgekit build, then deploy again")
    record = from_json(under.fetch(entry), Evaluation, EVALUATION)
    if not record.float_predictions:
        raise InputError(f"{under.manifest.name} is no classifier: its output names no class", fix="edgekit probe latency measures it")
    return record
