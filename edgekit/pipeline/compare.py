"""``edgekit compare``: whether a loss comes from quantization, from the board's kernels or from its preprocessing.

The board and this host run the same agent on the same samples, and each tells a digest of what it fed the network. Where they differ, the
board runs those samples again as the host has preprocessed them: what changes then is the preprocessing's doing, proven and not guessed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from edgekit.attribution import Compared, attribute
from edgekit.bundle import open_bundle
from edgekit.dataset import Dataset
from edgekit.device import Address, Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.devices.transfer import send
from edgekit.digest import sha256_file
from edgekit.errors import BuildError, DeviceError, InputError, UsageError
from edgekit.ondevice import inputs, preprocess, samples
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.evaluation import evaluation_of
from edgekit.pipeline.releases import ask_status
from edgekit.pipeline.undertest import UnderTest, under_test
from edgekit.project import Project
from edgekit.report import BundleName

__all__ = ["compare", "read"]

_TIMEOUT_S = 3600.0
_COUNT_MAX = 200_000

_Class = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
_Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
_Text = Annotated[str, msgspec.Meta(max_length=1000)]


class _Runtime(msgspec.Struct, frozen=True):
    name: _Text
    version: _Text | None


class _Answer(msgspec.Struct, frozen=True):
    """What an agent says of a set."""

    predictions: Annotated[tuple[_Class, ...], msgspec.Meta(max_length=_COUNT_MAX)]
    fed: Annotated[tuple[_Digest, ...], msgspec.Meta(max_length=_COUNT_MAX)]
    runtime: _Runtime


def compare(
    device: Device,
    *,
    project: Project,
    folder: Path,
    app: str | None = None,
    bundle: Path | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> Compared:
    """Put float on the host, INT8 on the host and INT8 on the board side by side, on the evaluation set.

    Parameters
    ----------
    project, folder
        What the project declares, its evaluation set above all, and where its paths start from.
    app
        None takes the only application on the board.
    bundle
        Compare its release, which must stand on the board; None takes the current one.
    threads
        Of the runtime on the board; None takes the manifest's.

    Raises
    ------
    UsageError
        The bundle's release is not on the board, or it is not clear which application is meant.
    InputError
        There is no evaluation set, or another than the bundle's, or the model is no classifier.
    BuildError
        The artifact does not run on this host.
    DeviceError
        The board cannot be reached, or the run failed there.
    """
    with (
        under_test(device, app, threads, project, folder, reason="compare") as current,
        tempfile.TemporaryDirectory(prefix="edgekit-") as name,
    ):
        under, scratch = current if bundle is None else _of_bundle(current, bundle), Path(name)
        container = scratch / "evaluation.npz"
        evaluation, record = evaluation_of(under, container)
        if not (count := len(record.float_predictions)):
            raise InputError(f"{under.manifest.name} is no classifier: its output names no class, and classes are compared")
        sha256 = sha256_file(container)
        send(under.session, {sha256: container}, progress=progress)
        told = under.job("probe.accuracy", timeout_s=_TIMEOUT_S, progress=progress, samples=sha256, digests=True)
        board = read(told, count, under.address)
        answer = _on_host(under, container, scratch, progress)
        host = read(answer, count, "this host")
        alike = [one == other for one, other in zip(host.fed, board.fed, strict=True)]
        as_fed, still = list(board.predictions), 0
        otherwise = [number for number, same in enumerate(alike) if not same]
        if otherwise:
            again = _as_host_fed(under, evaluation, otherwise, answer["inputs"], scratch / "fed.npz", progress)
            for place, number in enumerate(otherwise):
                separate = again.fed[place] == host.fed[number]
                as_fed[number] = again.predictions[place] if separate else host.predictions[number]
                still += not separate
        return Compared(
            bundle=BundleName(under.manifest.name, under.manifest.target, under.digest),
            device=under.address,
            simulated=under.simulated,
            host_runtime=f"{host.runtime.name} {host.runtime.version or 'of unknown version'}",
            device_runtime=f"{board.runtime.name} {board.runtime.version or 'of unknown version'}",
            attribution=attribute(
                record.labels, record.float_predictions, host.predictions, board.predictions, fed_alike=alike, device_as_host_fed=as_fed
            ),
            notes=tuple(_notes(under, sum(a != b for a, b in zip(record.artifact_predictions, host.predictions, strict=True)), still)),
        )


def _of_bundle(current: UnderTest, path: Path) -> UnderTest:
    """Turn to a bundle's release on the same board."""
    with open_bundle(path) as bundle:
        digest, manifest = bundle.digest, bundle.manifest
    there = [digest for app in ask_status(current.session, manifest.name).apps if app.name == manifest.name for digest in app.releases]
    if digest not in there:
        raise UsageError(f"{current.address}: the release {digest[:12]} is not there", fix=f"edgekit deploy --bundle {path} first")
    return replace(current, digest=digest, manifest=manifest)


def _on_host(under: UnderTest, container: Path, scratch: Path, progress: Progress) -> dict[str, Any]:
    """Run the release's very artifact here, by the same agent."""
    artifact = scratch / "artifact"
    artifact.write_bytes(under.fetch(next(entry for entry in under.manifest.files if entry.path == under.manifest.artifact)))
    device = Device(name="host", address=Address.parse("local"), root=str(scratch / "root"))
    try:
        with connect(device) as connection, AgentSession(connection, device) as session:
            return session.job(
                "infer",
                timeout_s=_TIMEOUT_S,
                progress=progress,
                artifact=str(artifact),
                preprocess=under.manifest.preprocess,
                samples=str(container),
                outputs=str(scratch / "outputs.npz"),
                threads=1,
                digests=True,
            )
    except DeviceError as error:
        raise BuildError(f"the artifact does not run on this host: {error.message}", fix=error.fix) from error


def _as_host_fed(
    under: UnderTest, evaluation: Dataset, numbers: Sequence[int], described: list[dict[str, Any]], container: Path, progress: Progress
) -> _Answer:
    """Let the board run some samples as the host has preprocessed them."""
    steps = preprocess.check(under.manifest.preprocess)

    def fed() -> Iterator[samples.Sample]:
        for sample in evaluation.read(numbers):
            whole = preprocess.feed(steps, sample, inputs.shapes(described, sample))
            yield {name: value[0] for name, value in whole.items()}  # the agent adds the batch axis again

    samples.write(container, fed())
    sha256 = sha256_file(container)
    send(under.session, {sha256: container}, progress=progress)
    told = under.job("probe.accuracy", timeout_s=_TIMEOUT_S, progress=progress, samples=sha256, digests=True, as_fed=True)
    return read(told, len(numbers), under.address)


def read(answer: object, count: int, where: str) -> _Answer:
    """Read what an agent says of so many samples; it is not trusted.

    Raises
    ------
    DeviceError
        It is not what this agent's should be.
    """
    try:
        found = msgspec.convert(answer, _Answer)
    except msgspec.ValidationError as error:
        raise DeviceError(f"{where}: the answer to probe.accuracy is malformed: {error}") from error
    if {len(found.predictions), len(found.fed)} != {count}:
        raise DeviceError(f"{where}: {len(found.predictions)} predictions and {len(found.fed)} digests came back for {count} samples")
    return found


def _notes(under: UnderTest, moved: int, still: int) -> Iterator[str]:
    if under.manifest.recipe is not None:
        yield "the host ran the Q/DQ network in onnxruntime; what TensorRT makes of it counts as kernels"
    if moved:
        yield f"on {moved} samples this host's runtime answers otherwise than the one that proved the build; its answers of today are shown"
    if still:
        yield f"on {still} samples the board turns even the host's values into other inputs: that, too, counts as preprocessing"
