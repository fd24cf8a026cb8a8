"""What a build works on: the float graph as its runtime wants it, the samples, and how the two meet. Called by ``build`` and ``debug``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgekit.dataset import Dataset, open_dataset, refuse_overlap
from edgekit.errors import InputError
from edgekit.feed import Feed, bind, check_samples
from edgekit.graph import Graph
from edgekit.metrics import Truth
from edgekit.metrics.scoring import find_metric, unjudged
from edgekit.model import Model
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.calibrate import random_samples, samples_of
from edgekit.pipeline.prepare import even_out, prepare
from edgekit.pipeline.verify import check_labels
from edgekit.project import DatasetSection, Project
from edgekit.runtimes import Runtime
from edgekit.sources import source_for

__all__ = ["Material", "gather"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Material:
    """The inputs of a build, checked against each other.

    Attributes
    ----------
    model, proto
        The float model as it came.
    graph
        The same in plain form, prepared for the runtime.
    feed
        How an evaluation sample becomes the graph's inputs.
    calibration, calibration_feed
        None where ranges come from random data.
    samples
        Starts over at each call: what calibration sees, preprocessed, one sample at a time.
    """

    model: Model
    proto: onnx.ModelProto
    graph: Graph
    feed: Feed
    calibration: Dataset | None
    calibration_feed: Feed | None
    evaluation: Dataset
    samples: Callable[[], Iterable[Mapping[str, Array]]]


def gather(
    project: Project,
    folder: Path,
    runtime: Runtime,
    *,
    model_path: Path,
    scratch: Path,
    allow_random: bool = False,
    progress: Progress = silent,
) -> Material:
    """Read model and datasets, and refuse what does not fit.

    Parameters
    ----------
    folder
        Relative paths start here.
    scratch
        A private folder that the samples are kept in.
    allow_random
        Make up calibration samples where none are declared.

    Raises
    ------
    InputError
        Model, datasets or preprocessing are missing or do not fit each other.
    """
    source = source_for(model_path)
    model = source.read(model_path)
    _check_declared(project, allow_random=allow_random)
    proto = source.load(model)
    graph = prepare(proto, project, runtime)
    inputs = [spec.name for spec in graph.inputs]
    progress("read the samples", 0, 2)
    metric = find_metric(project.evaluation.metric, folder)
    calibration = _dataset(project.calibration, folder, scratch / "calibration.npz", inputs, unjudged(metric))
    progress("read the samples", 1, 2)
    evaluation = _dataset(project.evaluation, folder, scratch / "evaluation.npz", inputs, metric.truth)
    progress("read the samples", 2, 2)
    assert evaluation is not None
    feed = bind(project.preprocess, graph.inputs, evaluation)
    check_samples(feed, evaluation)
    # One score tells two classes apart; auc checks its labels itself.
    if project.postprocess.output is None and metric.name != "auc":
        check_labels(graph, evaluation)
    if calibration is None:
        made = graph
        graph = even_out(graph, project, runtime, lambda: random_samples(made), progress=progress)
        return Material(model, proto, graph, feed, None, None, evaluation, lambda: random_samples(graph))
    own = bind(project.preprocess, graph.inputs, calibration)
    check_samples(own, calibration)
    refuse_overlap(calibration, evaluation)
    samples = samples_of(own, calibration)
    graph = even_out(graph, project, runtime, samples, progress=progress)
    return Material(model, proto, graph, feed, calibration, own, evaluation, samples)


def _check_declared(project: Project, *, allow_random: bool) -> None:
    if project.calibration.dataset is None and not allow_random:
        raise InputError(
            "no calibration set: INT8 ranges come from real samples",
            fix='write [calibration] dataset = "..." in edgekit.toml, or --allow-random for a throw-away build',
        )
    if project.evaluation.dataset is None:
        raise InputError(
            "no evaluation set: a build proves itself on samples that calibration never saw",
            fix='write [evaluation] dataset = "..." in edgekit.toml; skip and samples split one set in two',
        )


def _dataset(section: DatasetSection, folder: Path, container: Path, inputs: list[str], truth: Truth) -> Dataset | None:
    if section.dataset is None:
        return None
    return open_dataset(section.dataset, folder, container, skip=section.skip, count=section.samples, inputs=inputs, truth=truth)
