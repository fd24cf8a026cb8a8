"""``edgekit calibrate``, and the calibration of a build: observe the float network once, keep what was seen, go on where it stopped."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

from edgekit import lazy
from edgekit._version import __version__
from edgekit.dataset import Dataset, open_dataset
from edgekit.errors import InputError
from edgekit.feed import Feed, bind, check_samples
from edgekit.graph import Array, Graph
from edgekit.metrics.scoring import find_metric, unjudged
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.cache import Entry, read_observations, write_observations
from edgekit.pipeline.prepare import even_out, prepare
from edgekit.project import Project
from edgekit.quantize.histogram import Histogram
from edgekit.quantize.observation import Identity, Observations, Spans, without
from edgekit.quantize.observe import observe
from edgekit.runtimes import RUNTIMES, Runtime
from edgekit.sources import source_for
from edgekit.target import Target

__all__ = ["RANDOM_SAMPLES", "Calibrated", "Shard", "calibrate", "observations_of", "random_samples", "samples_of"]

CHECKPOINT_S = 5.0
"""How much work a kill -9 may cost. Writing takes some ten milliseconds."""

RANDOM_SAMPLES = 32


@dataclass(frozen=True)
class Shard:
    """The ``number``-th of ``count`` parts of a calibration set, from 1: samples that follow each other."""

    number: int
    count: int

    def spans(self, samples: int) -> Spans:
        """Return the part's samples; the parts differ by one sample at most."""
        start, end = ((samples * number) // self.count for number in (self.number - 1, self.number))
        return ((start, end),) if start < end else ()


@dataclass(frozen=True)
class Calibrated:
    """What was observed, and how that came about.

    Attributes
    ----------
    reused
        How many of the samples had been observed before.
    cached
        Whether the cache has them now.
    notes
        What the user should know of files that could not be used or written.
    """

    observations: Observations
    reused: int
    cached: bool
    notes: tuple[str, ...]


def samples_of(feed: Feed, dataset: Dataset) -> Callable[[], Iterator[dict[str, Array]]]:
    """Return a source of network inputs that starts over at each call."""
    return lambda: map(feed, dataset)


def random_samples(graph: Graph) -> Iterator[dict[str, Array]]:
    """Yield inputs for a throw-away build: the same at each call."""
    generator = np.random.default_rng(0)
    for _ in range(RANDOM_SAMPLES):
        yield {
            # Whole numbers are ids or truth values: 0 and 1 are valid as either.
            spec.name: generator.standard_normal(spec.shape, dtype=np.float32)
            if spec.dtype == "float32"
            else generator.integers(0, 2, spec.shape).astype(spec.dtype)
            for spec in graph.inputs
        }


def calibrate(
    project: Project,
    folder: Path,
    target: Target,
    *,
    model_path: Path,
    shard: Shard | None = None,
    parts: Iterable[Path] = (),
    output: Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> Calibrated:
    """Observe the calibration set, or a part of it, for builds to come.

    Parameters
    ----------
    project, folder
        What ``edgekit.toml`` says, and the folder its paths start from.
    target
        What builds will be for: its runtime has a say in what the graph is.
    model_path
        The float model.
    shard
        Only this part, which must go to ``output``.
    parts
        Files that other calls have written: their samples need not be observed again.
    output
        The observations are written to this file too, to be taken elsewhere as one of ``parts``.
    resume
        Go on where an interrupted call stopped.

    Raises
    ------
    InputError
        Model or samples are missing or do not fit, or a part is of something else.
    """
    section = project.calibration
    if section.dataset is None:
        raise InputError("no calibration set", fix='write [calibration] dataset = "..." in edgekit.toml')
    source = source_for(model_path)
    runtime: Runtime = lazy.load(RUNTIMES[target.runtime])()
    with tempfile.TemporaryDirectory(prefix="edgekit-calibrate-") as scratch:
        graph = prepare(source.load(source.read(model_path)), project, runtime)
        dataset = open_dataset(
            section.dataset,
            folder,
            Path(scratch) / "calibration.npz",
            truth=unjudged(find_metric(project.evaluation.metric, folder)),
            skip=section.skip,
            count=section.samples,
            inputs=[spec.name for spec in graph.inputs],
        )
        feed = bind(project.preprocess, graph.inputs, dataset)
        check_samples(feed, dataset)
        graph = even_out(graph, project, runtime, samples_of(feed, dataset), progress=progress)
        found = observations_of(graph, feed, dataset, shard=shard, parts=parts, resume=resume, progress=progress)
    if output:
        write_observations(output, found.observations)
    elif not found.cached:
        raise InputError(found.notes[-1], fix="set XDG_CACHE_HOME to a folder that can be written to, or name a file with --output")
    return found


def observations_of(
    graph: Graph,
    feed: Feed,
    dataset: Dataset,
    *,
    shard: Shard | None = None,
    parts: Iterable[Path] = (),
    resume: bool = False,
    progress: Progress = silent,
) -> Calibrated:
    """Return the observations of a set: from the cache, or made here and put there.

    Every few seconds, and when an exception ends the work, what is observed so far goes to the cache,
    where ``resume`` finds it. The result is the same to the last bit, however often it was interrupted.

    Raises
    ------
    InputError
        See ``observe``; or a part is not of this graph, set and preprocessing.
    """
    identity = Identity(
        graph_sha256=graph.sha256,
        dataset_sha256=dataset.sha256,
        samples=len(dataset),
        feed_sha256=feed.sha256,
        tools={"edgekit": __version__, **{name: version(name) for name in ("numpy", "onnxruntime")}},
    )
    wanted = shard.spans(len(dataset)) if shard else ((0, len(dataset)),)
    entry = Entry(identity, f"-{shard.number}of{shard.count}" if shard else "")
    parts = tuple(parts)
    before, note = entry.load(graph)
    notes = [note] if note else []
    if before is None or (without(wanted, before.spans) and (parts or not resume)):
        if before is not None and not parts:
            notes.append(f"an interrupted calibration was not taken up again ({before.count} of {identity.samples} samples): --resume does")
        before = Observations(identity)
        for path in parts:
            before += _part(path, identity, graph)
    work = _Work(entry, before, progress)
    missing = without(wanted, before.spans)
    if missing:
        work.run(graph, feed, dataset, missing)
    else:
        progress("calibrate", before.count, before.count)
        work.save()
    return Calibrated(work.observations, before.count, not work.notes, (*notes, *work.notes))


def _part(path: Path, identity: Identity, graph: Graph) -> Observations:
    part = read_observations(path)
    if part.identity != identity:
        raise InputError(f"{path} is of {part.difference(identity)}", fix="calibrate it again, with the same project and versions")
    part.check(graph)
    return part


@dataclass
class _Work:
    """Observation under way: what there is so far, and when it was last saved."""

    entry: Entry
    observations: Observations
    progress: Progress
    notes: list[str] = field(default_factory=list)

    def run(self, graph: Graph, feed: Feed, dataset: Dataset, missing: Spans) -> None:
        before, saved = self.observations, time.monotonic()
        numbers = list(itertools.chain.from_iterable(range(*span) for span in missing))

        def kept(histograms: Mapping[str, Histogram], done: int) -> None:
            nonlocal saved
            self.observations = before + Observations(before.identity, _first(missing, done), histograms)
            if time.monotonic() - saved > CHECKPOINT_S:
                self.save()
                saved = time.monotonic()

        def progress(stage: str, done: int, total: int) -> None:
            self.progress(stage, before.count + done, before.count + total)

        try:
            observe(graph, map(feed, dataset.read(numbers)), total=len(numbers), progress=progress, kept=kept)
            self.save()
        except BaseException as stop:
            self.save()
            if not isinstance(stop, Exception) and self.observations.spans and not self.notes:
                count, total = self.observations.count, before.count + len(numbers)
                stop.args = (f"{count} of {total} calibration samples are observed and kept: --resume goes on there",)
            raise

    def save(self) -> None:
        """Write what there is; a cache that cannot be written to is a word to the user, and no reason to stop."""
        if self.notes:
            return
        try:
            self.entry.store(self.observations)
        except InputError as error:
            self.notes.append(f"the calibration cache cannot be written: {error.message}")


def _first(spans: Spans, count: int) -> Spans:
    """Return the first so many samples."""
    first = []
    for start, end in spans:
        if count > 0:
            first.append((start, min(end, start + count)))
        count -= end - start
    return tuple(first)
