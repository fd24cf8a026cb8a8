"""The probe ``agreement``: without labels, how near the board's outputs are to the host's artifact and to the float model.

Agreement is not accuracy: two networks may agree and both be wrong.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from edgekit.comparison import wilson
from edgekit.dataset import Dataset, open_dataset
from edgekit.devices.transfer import send
from edgekit.digest import sha256_file
from edgekit.errors import InputError
from edgekit.feed import bind
from edgekit.measurement import Findings, Measurement, Verdict
from edgekit.metrics import Array
from edgekit.model import TensorSpec
from edgekit.pipeline import Progress
from edgekit.pipeline.boardoutputs import board_outputs
from edgekit.pipeline.probes import Options, Probe
from edgekit.pipeline.reference import float_reference
from edgekit.pipeline.undertest import UnderTest
from edgekit.pipeline.verify import class_count, host_outputs
from edgekit.quantize.normalise import normalise
from edgekit.sources import source_for

__all__ = ["PROBE", "Likeness"]

Outputs = Mapping[str, Array]

_AGAINST = {"host": "the same artifact on this host", "float": "the float model"}


class AgreementOptions(Options, frozen=True):
    """Compare the outputs of the current release on DEVICE with those of the same artifact on this host, and of the float model.

    Needs no labels, and says nothing of what is right. Reads the project's [evaluation] set.
    """

    samples: Annotated[int, msgspec.Meta(ge=1, le=100_000, description="Samples to compare, at most.")] = 200


class Likeness:
    """How alike two networks' outputs are, sample by sample."""

    def __init__(self, *, classifies: bool) -> None:
        self._classifies = classifies
        self.count = self.agreed = self.same = 0
        self._signal = self._noise = self._dot = self._power = 0.0

    def add(self, wanted: Array, got: Array, *, same: bool) -> None:
        """Take an output of one more sample, of one size on both sides; ``same`` says whether all of its outputs are."""
        want, have = (array.astype(np.float64).ravel() for array in (wanted, got))
        self.count += 1
        self.same += same
        self.agreed += int(want.argmax()) == int(have.argmax())
        with np.errstate(invalid="ignore", over="ignore"):
            self._signal += float(want @ want)
            self._power += float(have @ have)
            self._dot += float(want @ have)
            self._noise += float((want - have) @ (want - have))

    def measurements(self, whom: str) -> list[Measurement]:
        """Return what was seen, against whom: SQNR and cosine over all samples, top-1 agreement with its 95 % Wilson interval.

        Outputs that are not all finite have neither SQNR nor cosine.
        """
        finite = math.isfinite(self._signal + self._power + self._dot + self._noise)
        lengths = math.sqrt(self._signal) * math.sqrt(self._power) if finite else 0.0
        sqnr = 10 * math.log10(self._signal / self._noise) if finite and self._signal and self._noise else None
        found = [
            Measurement(f"sqnr_{whom}", sqnr, "dB", self.count, details={"equal": self._noise == 0}),
            Measurement(f"cosine_{whom}", self._dot / lengths if lengths else None, "1", self.count),
            Measurement(f"identical_{whom}", self.same / self.count, "1", self.count),
        ]
        if self._classifies:
            low, high = wilson(self.agreed, self.count)
            rate = self.agreed / self.count
            found.insert(0, Measurement(f"agreement_{whom}", rate, "1", self.count, details={"low": low, "high": high}))
        return found


def _measure(under: UnderTest, options: AgreementOptions, progress: Progress) -> Findings:
    section, manifest = under.project.evaluation, under.manifest
    if section.dataset is None:
        raise InputError("no evaluation set", fix='run in the project\'s folder, or write [evaluation] dataset = "..." in edgekit.toml')
    with tempfile.TemporaryDirectory(prefix="edgekit-probe-") as scratch:
        container, folder = Path(scratch) / "evaluation.npz", Path(scratch)
        inputs = [spec.name for spec in manifest.inputs]
        evaluation = open_dataset(
            section.dataset,
            under.folder,
            container,
            skip=section.skip,
            count=section.samples,
            at_most=options.samples,
            inputs=inputs,
            truth="none",
        )
        references: dict[str, Iterator[Outputs]] = {}
        if manifest.recipe is None:
            entry = next(entry for entry in manifest.files if entry.path == manifest.artifact)
            progress("run the artifact here", 0, 1)
            references["host"] = host_outputs(under.fetch(entry), container, manifest, folder)
        if (floats := _floats(under, evaluation, folder, progress)) is not None:
            references["float"] = floats
        if not references:
            raise InputError("nothing to compare with: an engine runs on boards only, and the float model is not here")
        sha256 = sha256_file(container)
        send(under.session, {sha256: container}, progress=progress)
        board = board_outputs(under, sha256, len(evaluation), folder, progress)
        return _compare(under, board, references, manifest.outputs)


def _floats(under: UnderTest, evaluation: Dataset, folder: Path, progress: Progress) -> Iterator[Outputs] | None:
    """Return the float model's outputs; None where the project's model is not the one the bundle was built from."""
    path = under.project.model.path
    if path is None or not (under.folder / path).exists():
        return None
    source = source_for(under.folder / path)
    model = source.read(under.folder / path)
    if model.sha256 != under.manifest.origin.model_sha256:
        return None
    proto = source.load(model)
    feed = bind(under.project.preprocess, normalise(proto, shapes=under.project.model.shapes).inputs, evaluation)
    return float_reference(proto, evaluation, feed, folder, progress=progress).outputs()


def _compare(
    under: UnderTest, board: Iterator[Outputs], references: Mapping[str, Iterator[Outputs]], outputs: tuple[TensorSpec, ...]
) -> Findings:
    """Go through the samples once; the first output is measured, and all that a reference has must be the same to be identical."""
    first, classifies = outputs[0].name, class_count(outputs[0].shape) is not None
    likeness = {whom: Likeness(classifies=classifies) for whom in references}
    for got in board:
        for whom, answers in references.items():
            wanted = next(answers)
            same = all(np.array_equal(array, got[name].reshape(array.shape)) for name, array in wanted.items())
            likeness[whom].add(wanted[first], got[first], same=same)
    host = likeness.get("host")
    return Findings(
        measurements=tuple(found for whom, one in likeness.items() for found in one.measurements(whom)),
        verdicts=(
            (Verdict("agreement_host", "pass", f"all {host.count} outputs are those of {_AGAINST['host']}, bit for bit", {}),)
            if host and host.same == host.count
            else ()
        ),
        environment={
            "runtime": under.manifest.runtime,
            "threads": str(under.threads),
            "compared": " and ".join(_AGAINST[whom] for whom in likeness),
            "meaning": "agreement is not accuracy: without labels nobody knows who is right",
        },
    )


PROBE = Probe("agreement", AgreementOptions, _measure)
