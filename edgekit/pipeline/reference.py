"""``Reference``: what the float network says of the evaluation set. ``build`` makes it, ``verify`` holds artifacts against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edgekit.dataset import Dataset
from edgekit.errors import InputError
from edgekit.feed import Feed
from edgekit.metrics import Array, Statistics
from edgekit.metrics.resampling import Drawn, draw
from edgekit.metrics.scoring import Scorer
from edgekit.ondevice import samples
from edgekit.outputs import by_name
from edgekit.pipeline import Progress, silent

__all__ = ["Reference", "float_reference"]


@dataclass(frozen=True)
class Reference:
    """What artifacts are held against: the float network's outputs on the evaluation set.

    Attributes
    ----------
    container
        The outputs, one sample each (`edgekit.ondevice.samples`).
    folder
        A private scratch folder; artifacts and their outputs go there.
    names
        The outputs in the container, in the network's order: all that the scorer may read, or the first alone.
    scorer
        Of the project's metric; None where predictions are enough to judge by.
    """

    evaluation: Dataset
    feed: Feed
    container: Path
    folder: Path
    names: tuple[str, ...]
    scorer: Scorer | None = None

    def outputs(self) -> Iterator[dict[str, Array]]:
        """Read the float network's outputs, sample by sample."""
        return (by_name(sample, self.names) for sample in samples.read(self.container))

    def truths(self) -> Iterator[Mapping[str, Array]]:
        """Read what is true of the samples; vectors may be the float network's own.

        Raises
        ------
        InputError
            The samples have no truth that the metric could read.
        """
        if (known := self.evaluation.truths) is not None:
            return known
        if (vectors := self.vectors) is not None:
            return ({"vector": vector} for vector in vectors)
        assert self.scorer is not None
        wanted = self.scorer.metric
        raise InputError(
            f"{self.evaluation.name}: the metric {wanted.name} reads {wanted.truth}, and the samples have no truth",
            fix="docs/metrics.md says how a dataset holds it",
        )

    @cached_property
    def vectors(self) -> Array | None:
        """The float network's vectors [samples, length], where the metric holds others against them."""
        scorer = self.scorer
        if scorer is None or scorer.metric.truth != "vector" or self.evaluation.truths is not None:
            return None
        return np.stack([scorer.decode(outputs, None)["scores"] for outputs in self.outputs()]).astype(np.float32)

    @cached_property
    def statistics(self) -> Statistics | None:
        """What the metric keeps of the float network's outputs."""
        return self.scorer(self.outputs(), self.truths()) if self.scorer else None

    @cached_property
    def drawn(self) -> Drawn | None:
        """The float network's metric with its samples drawn again; a search asks for it at each trial."""
        if self.scorer is None or self.statistics is None or self.scorer.metric.is_share:
            return None
        return draw(self.scorer.metric.total(self.statistics), len(self.statistics))


def float_reference(
    proto: onnx.ModelProto, evaluation: Dataset, feed: Feed, folder: Path, *, scorer: Scorer | None = None, progress: Progress = silent
) -> Reference:
    """Run the float network as its author left it, one sample at a time, and keep its outputs in a file: the first, or all for a scorer.

    Raises
    ------
    InputError
        onnxruntime does not run it.
    """
    container = folder / "float-outputs.npz"
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        names = tuple(output.name for output in session.get_outputs()[: None if scorer else 1])

        def outputs() -> Iterator[samples.Sample]:
            for number, sample in enumerate(evaluation, start=1):
                answer = session.run(names, feed(sample))
                yield dict(zip(names, answer, strict=True)) if len(names) > 1 else {samples.ALONE: answer[0]}
                progress("run the float model", number, len(evaluation))

        samples.write(container, outputs())
    except (ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.RuntimeException, ort_errors.NotImplemented) as error:
        raise InputError(f"onnxruntime does not run the float model: {error}", fix="try the model in onnxruntime by itself") from error
    return Reference(evaluation, feed, container, folder, names, scorer)
