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

import msgspec

from edgekit import lazy
from edgekit._version import __version__
from edgekit.bundle import list_files, write_bundle
from edgekit.digest import check_folder
from edgekit.errors import BuildError
from edgekit.evaluation import EVALUATION, STATISTICS, Evaluation, Kept, write_statistics
from edgekit.manifest import Golden, Manifest, Origin, Requires
from edgekit.metrics import DEFAULT
from edgekit.metrics.postprocess import Postprocess
from edgekit.metrics.scoring import Scorer
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.budget import MAX_TRIALS
from edgekit.pipeline.canary import canary, finding
from edgekit.pipeline.finish import GOLDEN_COUNT, EngineOptions, Finished, finish_engine
from edgekit.pipeline.hooks import declare
from edgekit.pipeline.material import Material, gather
from edgekit.pipeline.onboard import look_at
from edgekit.pipeline.precision import Precisions
from edgekit.pipeline.quantize import quantize
from edgekit.pipeline.reference import Reference, float_reference
from edgekit.pipeline.trials import Judge, meet
from edgekit.pipeline.verify import ARTIFACT, Answers, golden_files, wire_layout
from edgekit.project import Project
from edgekit.report import BundleName, Measurement, Report, encode_report
from edgekit.runtimes import RUNTIMES, Runtime
from edgekit.runtimes.qdq import TensorRtQdq
from edgekit.target import Target

__all__ = ["Built", "build"]

# Enough to see a mistake that costs tens of points, and quick; `edgekit debug` takes more.
_CANARY_SAMPLES = 48
# The tolerance is the least one, in quantization steps; see `edgekit.pipeline.verify`.
_GOLDEN = Golden("golden/samples.npz", "golden/outputs.npz", "golden/builtin-outputs.npz", tolerance=2)


@dataclass(frozen=True)
class Built:
    """A finished build: where the bundle is, what it proved, and what the user should know beside."""

    path: Path
    manifest: Manifest
    report: Report
    notes: tuple[str, ...]


def build(
    project: Project,
    folder: Path,
    target: Target,
    *,
    model_path: Path,
    output: Path,
    allow_random: bool = False,
    max_trials: int = MAX_TRIALS,
    resume: bool = False,
    engine: EngineOptions | None = None,
    progress: Progress = silent,
) -> Built:
    """Quantize a model for a target, prove it on the evaluation set, and write its bundle.

    Where the accuracy budget is missed with every layer in int8, the fewest layers are kept in float with which
    it is met.

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
    max_trials
        How many choices of float layers to judge at most.
    resume
        Go on where an earlier build of the same was stopped.
    engine
        What holds for a TensorRT engine.

    Raises
    ------
    UsageError
        See ``EngineOptions.settled``.
    InputError
        Model, datasets, preprocessing or hooks are missing or do not fit each other.
    BuildError
        The model cannot be made to run on the target, the artifact does not run here, or the board cannot build. The work
        folder is kept, and named, once there is an artifact.
    DeviceError
        The board that is to build cannot be reached.
    """
    check_folder(output)
    declared = declare(project.deploy, folder)
    budget = project.budget.over(target.budget)
    options = (engine or EngineOptions()).settled(target)
    runtime: Runtime = lazy.load(RUNTIMES[target.runtime])()
    if options.device:
        look_at(options.device, target, races=options.precision == "auto")
    with _scratch() as scratch:
        material = gather(project, folder, runtime, model_path=model_path, scratch=scratch, allow_random=allow_random, progress=progress)
        warned = _check_preprocessing(material, progress)
        scorer = _scorer(project, folder, material)
        quantized = quantize(material, project, runtime, resume=resume, progress=progress)
        reference = float_reference(material.proto, material.evaluation, material.feed, scratch, scorer=scorer, progress=progress)
        judge = Judge(quantized.recovered, runtime, reference, project.build, budget, progress=progress)
        chosen = meet(judge, material, budget, max_trials=max_trials, resume=resume, progress=progress)
        if isinstance(runtime, TensorRtQdq):
            precisions = Precisions(runtime, judge, chosen, quantized, dla_core=options.dla_core, workspace_mib=options.workspace_mib)
            finished = finish_engine(precisions, options, target, _GOLDEN, scratch, progress=progress)
        else:
            golden, tolerance = golden_files(chosen.artifact, reference, _GOLDEN, GOLDEN_COUNT)
            finished = Finished(chosen, runtime.artifact_name, {runtime.artifact_name: chosen.artifact.data, **golden}, tolerance)
        proof, statistics = _evaluation(project, reference, finished.chosen.answers)
    name = project.model.name or _name_from(model_path)
    tools = _tools()
    chosen, evaluation = finished.chosen, material.evaluation
    plan, artifact = chosen.plan, chosen.artifact
    sizes = {"size_float": model_path.stat().st_size, "size_artifact": len(artifact.data)}
    report = _report(name, target.name, finished, len(evaluation), tools, sizes)
    files = {
        **finished.files,
        **declared.files,
        "plan.json": _json(plan),
        "report.json": encode_report(report),
        EVALUATION: _json(proof),
        **statistics,
    }
    manifest = Manifest(
        name=name,
        target=target.name,
        runtime=target.runtime,
        artifact=finished.artifact_name,
        threads=target.threads,
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        layouts=artifact.layouts,
        preprocess=material.feed.to_wire(layout=wire_layout(artifact, material.feed)),
        requires=Requires(machines=target.machines, boards=target.boards, python=target.python, runtime=target.runtime),
        golden=msgspec.structs.replace(_GOLDEN, tolerance=finished.tolerance),
        budget=budget,
        origin=Origin(
            model_sha256=material.model.sha256,
            graph_sha256=material.graph.sha256,
            calibration_sha256=plan.dataset_sha256,
            calibration_samples=plan.samples,
            calibration_method=plan.method,
            evaluation_sha256=evaluation.sha256,
            tools=tools,
        ),
        taints=() if material.calibration else ("calibrated on random data",),
        recipe=finished.recipe,
        engine=finished.engine,
        health=declared.health,
        files=list_files(files),
    )
    return Built(write_bundle(manifest, files, output), manifest, report, (*warned, *quantized.notes, *chosen.notes, *finished.notes))


def _scorer(project: Project, folder: Path, material: Material) -> Scorer | None:
    """Return what scores by the project's metric; None for top-1 of the first output, which predictions are enough for."""
    if project.evaluation.metric == DEFAULT and project.postprocess == Postprocess():
        return None
    names = [spec.name for spec in material.graph.outputs]
    return Scorer.of(project.evaluation.metric, project.postprocess, folder, material.feed.to_wire(), names)


def _evaluation(project: Project, reference: Reference, answers: Answers) -> tuple[Evaluation, dict[str, bytes]]:
    """Return who said what on each sample, and the file of the metric's statistics where there is one."""
    evaluation = reference.evaluation
    proof = Evaluation(
        dataset_sha256=evaluation.sha256,
        labels=evaluation.labels,
        float_predictions=answers.float_predictions,
        artifact_predictions=answers.artifact_predictions,
    )
    if not (reference.scorer and reference.statistics and answers.statistics):
        return proof, {}
    proof = msgspec.structs.replace(proof, metric=project.evaluation.metric, method_sha256=reference.scorer.method_sha256)
    kept = Kept(reference.statistics, answers.statistics, reference.vectors)
    return proof, {STATISTICS: write_statistics(reference.folder / STATISTICS, kept)}


def _check_preprocessing(material: Material, progress: Progress) -> tuple[str, ...]:
    """Return a warning when the float model scores clearly better on samples that are prepared another way."""
    checked = canary(material.graph, material.feed, material.evaluation, samples_max=_CANARY_SAMPLES, progress=progress)
    warned = finding(checked) if checked else None
    return (f"{warned.text}: check [preprocess]",) if warned else ()


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


def _report(name: str, target: str, finished: Finished, count: int, tools: dict[str, str], sizes: dict[str, int]) -> Report:
    """Say what was found. No time and no digest in it: it is part of what the bundle's digest covers."""
    chosen = finished.chosen
    findings, sqnr_db = chosen.findings, chosen.answers.sqnr_db
    kept = {node: choice.why for node, choice in chosen.plan.nodes.items() if choice.precision != "int8"}
    if finished.recipe and finished.recipe.precision == "fp16":
        kept = {}
    sqnr = Measurement("output_sqnr", sqnr_db if math.isfinite(sqnr_db) else None, "dB", count)
    made = (Measurement(key, size / 1e6, "MB", 1) for key, size in sizes.items())
    return Report(
        bundle=BundleName(name, target, None),
        device=None,
        simulated=False,
        measurements=(*findings.measurements, sqnr, *made, *finished.measurements),
        verdicts=findings.verdicts,
        samples={**findings.samples, **finished.samples},
        environment={**tools, **findings.environment, **finished.environment},
        float_nodes={**kept, **finished.float32_nodes},
        trials=chosen.trials,
    )


def _json(noun: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(noun, order="sorted"), indent=1) + b"\n"


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
