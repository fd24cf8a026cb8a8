"""The probe ``agreement``: without labels, how near the board's outputs are to the host's artifact and to the float model.

Agreement is not accuracy: two networks may agree and both be wrong.
"""

from __future__ import annotations

import base64
import binascii
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from edgekit.comparison import wilson
from edgekit.dataset import Dataset, open_dataset
from edgekit.devices.transfer import send
from edgekit.digest import sha256_file
from edgekit.errors import DeviceError, InputError
from edgekit.feed import bind
from edgekit.measurement import Findings, Measurement, Verdict
from edgekit.ondevice import samples
from edgekit.pipeline import Progress
from edgekit.pipeline.probes import Options, Probe
from edgekit.pipeline.reference import float_reference
from edgekit.pipeline.undertest import UnderTest
from edgekit.pipeline.verify import class_count, host_outputs
from edgekit.quantize.normalise import normalise
from edgekit.sources import source_for
from edgekit.validity import Runtime, Word

__all__ = ["PROBE", "Likeness"]

Array = np.ndarray[Any, np.dtype[Any]]

_TIMEOUT_S = 3600.0


class AgreementOptions(Options, frozen=True):
    """Compare the outputs of the current release on DEVICE with those of the same artifact on this host, and of the float model.

    Needs no labels, and says nothing of what is right. Reads the project's [evaluation] set.
    """

    samples: Annotated[int, msgspec.Meta(ge=1, le=100_000, description="Samples to compare, at most.")] = 200


class _Output(msgspec.Struct, frozen=True):
    dtype: Word
    shape: Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=1 << 24)], ...], msgspec.Meta(max_length=8)]
    scale: float | None
    zero_point: int | None


class _End(msgspec.Struct, frozen=True):
    count: int
    outputs: Annotated[tuple[_Output, ...], msgspec.Meta(min_length=1, max_length=1000)]
    runtime: Runtime
    delegate: Word | None


class Likeness:
    """How alike two networks' outputs are, sample by sample."""

    def __init__(self, *, classifies: bool) -> None:
        self._classifies = classifies
        self.count = self.agreed = self.same = 0
        self._signal = self._noise = self._dot = self._power = 0.0

    def add(self, wanted: Array, got: Array) -> None:
        """Take the outputs of one more sample, in one shape."""
        want, have = (array.astype(np.float64).ravel() for array in (wanted, got))
        self.count += 1
        self.same += bool(np.array_equal(want, have))
        self.agreed += int(want.argmax()) == int(have.argmax())
        self._signal += float(want @ want)
        self._power += float(have @ have)
        self._dot += float(want @ have)
        self._noise += float((want - have) @ (want - have))

    def measurements(self, whom: str) -> list[Measurement]:
        """Return what was seen, against whom: SQNR and cosine over all samples, top-1 agreement with its 95 % Wilson interval."""
        lengths = math.sqrt(self._signal * self._power)
        sqnr = 10 * math.log10(self._signal / self._noise) if self._signal and self._noise else None
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
        count = min(options.samples, section.samples or options.samples)
        inputs = [spec.name for spec in manifest.inputs]
        evaluation = open_dataset(section.dataset, under.folder, container, skip=section.skip, count=count, inputs=inputs, truth="none")
        references: dict[str, Iterator[Array]] = {}
        if manifest.recipe is None:
            entry = next(entry for entry in manifest.files if entry.path == manifest.artifact)
            progress("run the artifact here", 0, 1)
            references["host"] = host_outputs(under.fetch(entry), container, manifest.preprocess, folder)
        if (floats := _floats(under, evaluation, folder, progress)) is not None:
            references["float"] = floats
        if not references:
            raise InputError("nothing to compare with: an engine runs on boards only, and the float model is not here")
        sha256 = sha256_file(container)
        send(under.session, {sha256: container}, progress=progress)
        return _compare(under, sha256, len(evaluation), references, progress)


def _floats(under: UnderTest, evaluation: Dataset, folder: Path, progress: Progress) -> Iterator[Array] | None:
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
    reference = float_reference(proto, evaluation, feed, folder, progress=progress)
    return (output[samples.ALONE] for output in samples.read(reference.container))


def _compare(under: UnderTest, sha256: str, count: int, references: dict[str, Iterator[Array]], progress: Progress) -> Findings:
    parts: list[bytes] = []
    answer = under.job("probe.outputs", timeout_s=_TIMEOUT_S, progress=progress, on_part=_take(parts, count, under.address), samples=sha256)
    end = under.read(answer, _End, "probe.outputs")
    output = end.outputs[0]
    shape, dtype = output.shape, _dtype(output.dtype, under.address)
    if {len(part) for part in parts} != {math.prod(shape) * dtype.itemsize} or len(parts) != count:
        raise DeviceError(f"{under.address}: the outputs are not {count} of {list(shape)}")
    name = under.manifest.outputs[0].name
    turned = under.manifest.layouts.get(name) == "nhwc" and len(shape) == 4
    likeness = {whom: Likeness(classifies=class_count(shape) is not None) for whom in references}
    for raw in (np.frombuffer(part, dtype).reshape(shape) for part in parts):
        for whom, outputs in references.items():
            wanted, got = next(outputs), raw
            if whom == "float":
                got = _real(raw, output)
                got = (got.transpose(0, 3, 1, 2) if turned else got).reshape(wanted.shape)
            likeness[whom].add(wanted, got)
    against = {"host": "the same artifact on this host", "float": "the float model"}
    return Findings(
        measurements=tuple(found for whom, one in likeness.items() for found in one.measurements(whom)),
        verdicts=tuple(
            Verdict(f"agreement_{whom}", "pass", f"{one.same} of {one.count} outputs are those of {against[whom]}, bit for bit", {})
            for whom, one in likeness.items()
            if whom == "host" and one.same == one.count
        ),
        environment={
            **end.runtime.words(end.delegate),
            "compared": " and ".join(against[whom] for whom in likeness),
            "meaning": "agreement is not accuracy: without labels nobody knows who is right",
        },
    )


def _take(parts: list[bytes], count: int, address: str) -> Callable[[dict[str, Any]], None]:
    def take(part: dict[str, Any]) -> None:
        try:
            parts.append(base64.b64decode(part["outputs"][0], validate=True))
        except (KeyError, IndexError, TypeError, binascii.Error) as error:
            raise DeviceError(f"{address}: an output is not as it must be: {error!r}") from error
        if len(parts) > count:
            raise DeviceError(f"{address}: more outputs came than there are samples")

    return take


def _dtype(name: str, address: str) -> np.dtype[Any]:
    if name not in {"float32", "float16", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool"}:
        raise DeviceError(f"{address}: the output's type is {name!r}")
    return np.dtype(name)


def _real(raw: Array, output: _Output) -> Array:
    """Return the real values that an output of the artifact stands for."""
    if output.scale is None:
        return raw
    values: Array = (raw.astype(np.float32) - (output.zero_point or 0)) * np.float32(output.scale)
    return values


PROBE = Probe("agreement", AgreementOptions, _measure)
