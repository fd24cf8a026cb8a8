"""``edgekit probe``: measure the release a board runs, on the board, and judge what came back.

The bundle need not be at hand: manifest and evaluation are fetched from the board and checked
against the release's digest, which is the manifest's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from edgekit._version import __version__
from edgekit.accuracy import accuracy_measurements
from edgekit.dataset import open_dataset
from edgekit.device import Device, Facts
from edgekit.devices import Connection, connect
from edgekit.devices.lease import leased
from edgekit.devices.session import AgentSession
from edgekit.devices.transfer import send
from edgekit.digest import sha256_bytes, sha256_file
from edgekit.errors import DeviceError, InputError, UsageError
from edgekit.evaluation import EVALUATION, Evaluation
from edgekit.latency import latency_measurements
from edgekit.manifest import MANIFEST, MANIFEST_BYTES_MAX, FileEntry, Manifest
from edgekit.parse import from_json
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.fit import stands_in
from edgekit.pipeline.releases import ask_status
from edgekit.project import DatasetSection
from edgekit.report import BundleName, DeviceName, Findings, Report

__all__ = ["probe_accuracy", "probe_latency"]

_STEP_TIMEOUT_S = 300.0
_PROBE_TIMEOUT_S = 3600.0
# Beside two runs of min_time_s: loading, warming up twice at its cap of 60 s, and sending the samples.
_LATENCY_EXTRA_S = 600.0


@dataclass(frozen=True)
class _Release:
    """The release under test, with the board it runs on."""

    connection: Connection
    session: AgentSession
    device: Device
    facts: Facts
    digest: str
    manifest: Manifest

    def fetch(self, path: str, entry: FileEntry) -> bytes:
        place = f"apps/{self.manifest.name}/releases/{self.digest}/{path}"
        return _fetch(self.connection, self.device, place, entry.sha256, max_bytes=entry.bytes)

    @property
    def simulated(self) -> bool:
        return stands_in(self.manifest.requires, self.facts)


def probe_latency(
    device: Device,
    *,
    app: str | None = None,
    threads: int | None = None,
    min_time_s: float = 3.0,
    min_count: int = 700,
    cuda_graph: bool = False,
    progress: Progress = silent,
) -> Report:
    """Measure how long the current release takes, once the board runs steadily.

    Parameters
    ----------
    app
        None takes the only application on the board.
    threads
        None takes the manifest's, but no more than the board has cores.
    min_time_s, min_count
        Measure until both are reached; 662 is the fewest that bounds a 99th percentile.
    cuda_graph
        Launch a TensorRT engine's layers as one CUDA graph.

    Raises
    ------
    UsageError
        The board holds several applications and none was named, or not that one.
    DeviceError
        The board cannot be reached, or the run failed there.
    """
    with _release(device, app) as release:
        answer = release.session.job(
            "probe.latency",
            timeout_s=2 * min_time_s + _LATENCY_EXTRA_S,
            progress=progress,
            app=release.manifest.name,
            release=release.digest,
            threads=threads or min(release.manifest.threads, release.facts.cores),
            min_time_s=min_time_s,
            min_count=min_count,
            cuda_graph=cuda_graph,
        )
        findings = latency_measurements(
            answer,
            address=str(device.address),
            cores=release.facts.cores,
            simulated=release.simulated,
            p99_budget_ms=release.manifest.budget.latency_p99_ms,
        )
        if cuda_graph:
            findings = msgspec.structs.replace(findings, environment={**findings.environment, "cuda_graph": "yes"})
        return _report(release, findings)


def probe_accuracy(
    device: Device,
    section: DatasetSection,
    folder: Path,
    *,
    app: str | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> Report:
    """Run the evaluation set on the board and compare it, sample by sample, with the float network.

    Parameters
    ----------
    section, folder
        The evaluation set that the project declares, and where its path starts from. It must be
        the one the bundle was built with.

    Raises
    ------
    InputError
        There is none, or another than the bundle's, or the bundle's model is no classifier.
    """
    if section.dataset is None:
        raise InputError("no evaluation set", fix='run in the project\'s folder, or write [evaluation] dataset = "..." in edgekit.toml')
    with tempfile.TemporaryDirectory(prefix="edgekit-probe-") as scratch:
        container = Path(scratch) / "evaluation.npz"
        with _release(device, app) as release:
            inputs = [spec.name for spec in release.manifest.inputs]
            evaluation = open_dataset(section.dataset, folder, container, skip=section.skip, count=section.samples, inputs=inputs)
            record = _record(release)
            if record.dataset_sha256 != evaluation.sha256:
                raise InputError(
                    f"{evaluation.name} is not the evaluation set that the release {release.digest[:12]} was built with",
                    fix="edgekit build, then deploy again; or take back the old [evaluation] set",
                )
            sha256 = sha256_file(container)
            send(release.session, {sha256: container}, progress=progress)
            answer = release.session.job(
                "probe.accuracy",
                timeout_s=_PROBE_TIMEOUT_S,
                progress=progress,
                app=release.manifest.name,
                release=release.digest,
                samples=sha256,
                threads=threads or min(release.manifest.threads, release.facts.cores),
            )
            predictions = _predictions(answer, len(record.float_predictions), str(device.address))
            drop = release.manifest.budget.accuracy_drop_max
            findings = accuracy_measurements(record.labels, record.float_predictions, predictions, accuracy_drop_max=drop)
            return _report(release, findings)


def _record(release: _Release) -> Evaluation:
    """Fetch what the host found on each evaluation sample."""
    entry = next((e for e in release.manifest.files if e.path == EVALUATION), None)
    if entry is None:
        raise InputError(f"the bundle {release.manifest.name} holds no {EVALUATION}", fix="edgekit build, then deploy again")
    record = from_json(release.fetch(EVALUATION, entry), Evaluation, EVALUATION)
    if not record.float_predictions:
        raise InputError(f"{release.manifest.name} is no classifier: its output names no class", fix="edgekit probe latency measures it")
    return record


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


@contextmanager
def _release(device: Device, app: str | None) -> Iterator[_Release]:
    with connect(device) as connection, AgentSession(connection, device) as session:
        digest, name = _current(session, device, app)
        facts = session.facts()
        data = _fetch(connection, device, f"apps/{name}/releases/{digest}/{MANIFEST}", digest, max_bytes=MANIFEST_BYTES_MAX)
        manifest = from_json(data, Manifest, f"{device.address}:{name}/{MANIFEST}")
        with leased(session, reason=f"probe {name} {digest[:12]}"):
            yield _Release(connection, session, device, facts, digest, manifest)


def _current(session: AgentSession, device: Device, app: str | None) -> tuple[str, str]:
    found = {a.name: a.current for a in ask_status(session, None).apps}
    if not found:
        raise UsageError(f"{device.address}: nothing is deployed there", fix=f"edgekit deploy {device.name}")
    if app is None and len(found) > 1:
        raise UsageError(f"{device.address}: which application? There are {', '.join(sorted(found))}", fix="name it with --app")
    name = app or next(iter(found))
    digest = found.get(name)
    if digest is None:
        raise UsageError(f"{device.address}: no current release of {name!r}", fix=f"known there: {', '.join(sorted(found))}")
    return digest, name


def _fetch(connection: Connection, device: Device, path: str, sha256: str, *, max_bytes: int) -> bytes:
    with tempfile.TemporaryDirectory(prefix="edgekit-fetch-") as scratch:
        local = Path(scratch) / "file"
        connection.get(f"{device.root}/{path}", local, max_bytes=max_bytes)
        data = local.read_bytes()
    if sha256_bytes(data) != sha256:
        raise DeviceError(f"{device.address}: {path} is damaged there", fix=f"edgekit deploy {device.name}")
    return data


def _report(release: _Release, findings: Findings) -> Report:
    facts = msgspec.json.encode(release.facts, order="sorted")
    return Report(
        bundle=BundleName(release.manifest.name, release.manifest.target, release.digest),
        device=DeviceName(release.device.name, str(release.device.address), sha256_bytes(facts)),
        simulated=release.simulated,
        measurements=findings.measurements,
        verdicts=findings.verdicts,
        samples=findings.samples,
        environment={
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "edgekit": __version__,
            "board": release.facts.board or release.facts.cpu or release.facts.machine,
            "machine": release.facts.machine,
            **findings.environment,
        },
    )
