"""``edgekit build``: a float model becomes a bundle that carries its own proof."""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgekit import lazy
from edgekit._version import __version__
from edgekit.accuracy import accuracy_measurements
from edgekit.bundle import list_files, write_bundle
from edgekit.dataset import Dataset, open_dataset, refuse_overlap
from edgekit.digest import check_folder
from edgekit.errors import BuildError, InputError
from edgekit.evaluation import EVALUATION, Evaluation
from edgekit.feed import bind, check_samples
from edgekit.graph import Graph
from edgekit.manifest import Golden, Manifest, Origin, Requires
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.verify import ARTIFACT, Proof, check_labels, class_count, prove, wire_layout
from edgekit.project import Project
from edgekit.quantize.calibrate import DEFAULT_METHOD, calibrate
from edgekit.quantize.normalise import normalise
from edgekit.report import BundleName, Findings, Measurement, Report, Verdict, encode_report
from edgekit.runtimes import RUNTIMES, Artifact
from edgekit.sources import source_for
from edgekit.target import Budget, Target

__all__ = ["Built", "build"]

Array = np.ndarray[Any, np.dtype[Any]]

GOLDEN_COUNT = 8
# The tolerance is the least one, in quantization steps; see `edgekit.pipeline.verify`.
_GOLDEN = Golden("golden/samples.npz", "golden/outputs.npz", "golden/builtin-outputs.npz", tolerance=2)
_RANDOM_SAMPLES = 32


@dataclass(frozen=True)
class Built:
    """A finished build: where the bundle is, and what it proved."""

    path: Path
    manifest: Manifest
    report: Report


def build(
    project: Project,
    folder: Path,
    target: Target,
    *,
    model_path: Path,
    output: Path,
    allow_random: bool = False,
    progress: Progress = silent,
) -> Built:
    """Quantize a model for a target, prove it on the evaluation set, and write its bundle.

    Parameters
    ----------
    project, folder
        What ``edgekit.toml`` says, and the folder its paths start from.
    model_path
        The float model.
    output
        The bundle is written in this folder.
    allow_random
        Calibrate on random data when no calibration set is declared; taints the bundle.

    Raises
    ------
    InputError
        Model, datasets or preprocessing are missing or do not fit each other.
    BuildError
        The model cannot be made to run on the target, or the artifact does not run here. The work
        folder is kept, and named.
    """
    source = source_for(model_path)
    model = source.read(model_path)
    check_folder(output)
    with _scratch() as scratch:
        calibration, evaluation = _datasets(project, folder, scratch, allow_random=allow_random, progress=progress)
        proto = source.load(model)
        graph = normalise(proto, shapes=project.model.shapes)
        feed = bind(project.preprocess, graph.inputs, evaluation)
        check_samples(feed, evaluation)
        check_labels(graph, evaluation)
        if calibration:
            check_samples(bind(project.preprocess, graph.inputs, calibration), calibration)
            refuse_overlap(calibration, evaluation)
        plan = calibrate(
            graph,
            _inputs(graph, project, calibration),
            total=len(calibration) if calibration else _RANDOM_SAMPLES,
            method=project.calibration.method or DEFAULT_METHOD,
            dataset_sha256=calibration.sha256 if calibration else None,
            progress=progress,
        )
        runtime = lazy.load(RUNTIMES[target.runtime])()
        border = {"io_dtype": project.build.io_dtype or runtime.io_dtype, "layout": project.build.layout or runtime.layout}
        artifact: Artifact = runtime.emit(graph, plan, **border)
        proof = prove(artifact, proto, evaluation, feed, golden=_GOLDEN, golden_count=GOLDEN_COUNT, folder=scratch, progress=progress)
    name = project.model.name or _name_from(model_path)
    budget = _budget(project.budget, target.budget)
    tools = _tools()
    sizes = {"size_float": model_path.stat().st_size, "size_artifact": len(artifact.data)}
    findings = _accuracy(class_count(graph.outputs[0].shape), proof, evaluation, budget)
    report = _report(name, target.name, findings, proof, len(evaluation), tools, sizes)
    files = {
        runtime.artifact_name: artifact.data,
        "plan.json": _json(plan),
        "report.json": encode_report(report),
        EVALUATION: _json(
            Evaluation(
                dataset_sha256=evaluation.sha256,
                labels=evaluation.labels,
                float_predictions=proof.float_predictions,
                artifact_predictions=proof.artifact_predictions,
            )
        ),
        **proof.golden,
    }
    manifest = Manifest(
        name=name,
        target=target.name,
        runtime=target.runtime,
        artifact=runtime.artifact_name,
        threads=target.threads,
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        layouts=artifact.layouts,
        preprocess=feed.to_wire(layout=wire_layout(artifact, feed)),
        requires=Requires(machines=target.machines, boards=target.boards, python=target.python, runtime=target.runtime),
        golden=msgspec.structs.replace(_GOLDEN, tolerance=proof.golden_tolerance),
        budget=budget,
        origin=Origin(
            model_sha256=model.sha256,
            graph_sha256=graph.sha256,
            calibration_sha256=plan.dataset_sha256,
            calibration_samples=plan.samples,
            calibration_method=plan.method,
            evaluation_sha256=evaluation.sha256,
            tools=tools,
        ),
        taints=() if calibration else ("calibrated on random data",),
        files=list_files(files),
    )
    return Built(write_bundle(manifest, files, output), manifest, report)


@contextmanager
def _scratch() -> Iterator[Path]:
    """Make a private work folder; it goes when the block ends, but stays, and is named, when the artifact does not run."""
    folder = Path(tempfile.mkdtemp(prefix="edgekit-build-"))
    try:
        yield folder
    except BuildError as error:
        if (folder / ARTIFACT).exists():
            raise BuildError(f"{error.message}\nthe work folder is kept: {folder}", fix=error.fix) from error
        shutil.rmtree(folder)
        raise
    except BaseException:
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)


def _datasets(project: Project, folder: Path, scratch: Path, *, allow_random: bool, progress: Progress) -> tuple[Dataset | None, Dataset]:
    wanted, proof = project.calibration, project.evaluation
    if wanted.dataset is None and not allow_random:
        raise InputError(
            "no calibration set: INT8 ranges come from real samples",
            fix='write [calibration] dataset = "..." in edgekit.toml, or --allow-random for a throw-away build',
        )
    if proof.dataset is None:
        raise InputError(
            "no evaluation set: a build proves itself on samples that calibration never saw",
            fix='write [evaluation] dataset = "..." in edgekit.toml; skip and samples split one set in two',
        )
    calibration = None
    progress("read the samples", 0, 2)
    if wanted.dataset:
        calibration = open_dataset(wanted.dataset, folder, scratch / "calibration.npz", skip=wanted.skip, count=wanted.samples)
    progress("read the samples", 1, 2)
    evaluation = open_dataset(proof.dataset, folder, scratch / "evaluation.npz", skip=proof.skip, count=proof.samples)
    progress("read the samples", 2, 2)
    return calibration, evaluation


def _inputs(graph: Graph, project: Project, calibration: Dataset | None) -> Iterator[dict[str, Array]]:
    if calibration is None:
        return _random_inputs(graph)
    return map(bind(project.preprocess, graph.inputs, calibration), calibration)


def _random_inputs(graph: Graph) -> Iterator[dict[str, Array]]:
    generator = np.random.default_rng(0)
    for _ in range(_RANDOM_SAMPLES):
        yield {
            # Whole numbers are ids or truth values: 0 and 1 are valid as either.
            spec.name: generator.standard_normal(spec.shape, dtype=np.float32)
            if spec.dtype == "float32"
            else generator.integers(0, 2, spec.shape).astype(spec.dtype)
            for spec in graph.inputs
        }


def _report(name: str, target: str, findings: Findings, proof: Proof, count: int, tools: dict[str, str], sizes: dict[str, int]) -> Report:
    """Say what the host found. No time and no digest in it: it is part of what the bundle's digest covers."""
    sqnr = Measurement("output_sqnr", proof.sqnr_db if math.isfinite(proof.sqnr_db) else None, "dB", count)
    return Report(
        bundle=BundleName(name, target, None),
        device=None,
        simulated=False,
        measurements=(*findings.measurements, sqnr, *(Measurement(key, size / 1e6, "MB", 1) for key, size in sizes.items())),
        verdicts=findings.verdicts,
        samples=findings.samples,
        environment={**tools, **findings.environment},
    )


def _accuracy(classes: int | None, proof: Proof, evaluation: Dataset, budget: Budget) -> Findings:
    if classes is None:
        text = "the output is no vector of scores, so it names no class: only its SQNR is measured"
        verdict = Verdict("accuracy", "inconclusive", text)
        return Findings((), (verdict,) if budget.accuracy_drop_max is not None else ())
    return accuracy_measurements(
        evaluation.labels,
        proof.float_predictions,
        proof.artifact_predictions,
        accuracy_drop_max=budget.accuracy_drop_max,
        chance=1 / classes,
    )


def _json(noun: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(noun, order="sorted"), indent=1) + b"\n"


def _budget(project: Budget, target: Budget) -> Budget:
    """Lay the project's promises over the target's."""
    own = {field: value for field, value in msgspec.structs.asdict(project).items() if value is not None}
    return msgspec.structs.replace(target, **own)


def _tools() -> dict[str, str]:
    """Return the versions that take part in making the bytes of a bundle."""
    found = {"edgekit": __version__}
    for package in ("ai-edge-litert", "numpy", "onnx", "onnxruntime"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def _name_from(path: Path) -> str:
    """Make an application name of a file's: ``My Net.onnx`` is ``my-net``."""
    name = re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._")
    return name[:64] or "model"
