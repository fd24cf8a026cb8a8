"""Judge a plan end to end, and meet the accuracy budget with it. Called by ``build``.

``Judge`` turns a choice of layers kept in float into an artifact and its verdict; ``meet`` lets ``budget.search``
choose among them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import msgspec
import platformdirs

from edgekit._version import __version__
from edgekit.accuracy import accuracy_measurements, score_measurements
from edgekit.digest import sha256_bytes
from edgekit.errors import InputError
from edgekit.graph import Graph
from edgekit.measurement import Findings, Verdict
from edgekit.operations import macs
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.budget import search
from edgekit.pipeline.journal import Journal
from edgekit.pipeline.material import Material
from edgekit.pipeline.reference import Reference
from edgekit.pipeline.verify import Answers, answers, class_count
from edgekit.plan import NodePrecision, QuantPlan
from edgekit.project import BuildSection
from edgekit.quantize.mixed import float_nodes
from edgekit.quantize.recover import Recovered, keep
from edgekit.quantize.sensitivity import Step, ranking
from edgekit.runtimes import Artifact, Runtime
from edgekit.target import Budget
from edgekit.trial import Trial

__all__ = ["Chosen", "Judge", "meet"]

RANKING_SAMPLES = 16
"""Calibration samples that layers are ranked on: ranks settle early, and each layer costs a pass over them."""


@dataclass(frozen=True)
class Chosen:
    """The plan that will be built, the graph it is emitted from, all it was chosen among, and what the user should know beside."""

    graph: Graph
    plan: QuantPlan
    artifact: Artifact
    answers: Answers
    findings: Findings
    trials: tuple[Trial, ...] = ()
    notes: tuple[str, ...] = ()


class Judge:
    """Emits and measures plans; remembers the last one, which a search usually ends with."""

    def __init__(
        self, recovered: Recovered, runtime: Runtime, reference: Reference, declared: BuildSection, budget: Budget, *, progress: Progress
    ) -> None:
        self.recovered, self.reference, self.budget = recovered, reference, budget
        self._runtime, self._progress = runtime, progress
        self._border = {"io_dtype": declared.io_dtype or runtime.io_dtype, "layout": declared.layout or runtime.layout}
        self._macs = macs(recovered.original)
        self._last: tuple[tuple[str, ...], Chosen] | None = None

    @property
    def identity(self) -> dict[str, str]:
        """What a judgement depends on besides plan and samples."""
        metric = {"metric": self.reference.scorer.method_sha256} if self.reference.scorer else {}
        return {"runtime": type(self._runtime).__name__, **self._border, **metric}

    def quantized(self, kept: Sequence[str]) -> tuple[Graph, QuantPlan]:
        """Return what ``quantize.sensitivity`` simulates."""
        mixed = self.with_float(kept)
        return mixed.graph, mixed.plan

    def with_float(self, kept: Sequence[str], why: Mapping[str, str] | None = None) -> Recovered:
        """Return graph and plan with these layers in float."""
        chosen = float_nodes(self.recovered.original, self.recovered.plan, kept)
        reasons = why or {}
        new = {
            node.name: NodePrecision("float32", reasons.get(node.name, "it passes on what a float layer makes"))
            for node in self.recovered.original.nodes
            if node.name in chosen
        }
        return keep(self.recovered, new) if new else self.recovered

    def build(self, kept: Sequence[str], why: Mapping[str, str] | None = None) -> Chosen:
        """Emit the artifact with these layers in float, and judge it.

        Raises
        ------
        BuildError
            The runtime cannot say it, or its own file does not run.
        """
        mixed = self.with_float(kept, why)
        artifact = self._runtime.emit(mixed.graph, mixed.plan, **self._border)
        found = answers(artifact, self.reference, progress=self._progress)
        return Chosen(mixed.graph, mixed.plan, artifact, found, self.findings(found))

    def __call__(self, kept: Sequence[str]) -> Trial:
        """Return what these layers in float give and cost."""
        built = self.build(kept)
        self._last = (tuple(kept), built)
        return self.trial(kept, built)

    def last(self, kept: Sequence[str]) -> Chosen | None:
        """Return what was built last if it kept these layers."""
        return self._last[1] if self._last and set(self._last[0]) == set(kept) else None

    def trial(self, kept: Sequence[str], built: Chosen) -> Trial:
        """Sum a judgement up."""
        (verdict,) = built.findings.verdicts
        figures = {measurement.name: measurement.value for measurement in built.findings.measurements}
        in_float = sum(count for name, count in self._macs.items() if built.plan.precision(name) != "int8")
        return Trial(
            kept=tuple(kept),
            outcome=verdict.outcome,
            delta=_number(verdict.figures.get("delta"), 0.0),
            delta_low=_number(verdict.figures.get("low"), -1.0),
            disagreement=figures.get("disagreement", figures.get("changed")) or 0.0,
            sqnr_db=built.answers.sqnr_db if math.isfinite(built.answers.sqnr_db) else None,
            artifact_bytes=len(built.artifact.data),
            float_macs=in_float / max(1, sum(self._macs.values())),
        )

    def findings(self, found: Answers) -> Findings:
        """Judge answers by what is true and the promise."""
        reference, outputs = self.reference, self.recovered.original.outputs
        judged = reference.scorer.output if reference.scorer else outputs[0].name
        classes = class_count(next(one for one in outputs if one.name == judged).shape)
        if reference.scorer and reference.statistics and found.statistics:
            return score_measurements(
                reference.scorer.metric,
                reference.statistics,
                found.statistics,
                accuracy_drop_max=self.budget.accuracy_drop_max,
                classes=classes,
                drawn_before=reference.drawn,
            )
        if classes is None:
            text = "the output is no vector of scores, so it names no class: only its SQNR is measured"
            verdict = Verdict("accuracy", "inconclusive", text)
            return Findings((), (verdict,) if self.budget.accuracy_drop_max is not None else ())
        return accuracy_measurements(
            self.reference.evaluation.labels,
            found.float_predictions,
            found.artifact_predictions,
            accuracy_drop_max=self.budget.accuracy_drop_max,
            chance=1 / classes,
        )


def meet(judge: Judge, material: Material, budget: Budget, *, max_trials: int, resume: bool = False, progress: Progress = silent) -> Chosen:
    """Return the artifact with the fewest layers in float that keeps the accuracy budget, or the best there is.

    Without a budget, or where the metric cannot be judged (no labels, no classes), it is the one with every layer in int8.
    """
    first = judge.build(())
    allowed = budget.accuracy_drop_max
    if allowed is None or not first.findings.verdicts:
        return first
    (verdict,) = first.findings.verdicts
    if verdict.outcome == "invalid" or "delta" not in verdict.figures:
        return first
    identity = _identity(judge, material, allowed)
    notes: tuple[str, ...] = ()
    try:
        journal = Journal(platformdirs.user_cache_path("edgekit") / "search", identity, resume=resume)
    except InputError as error:
        # As with the calibration cache: a word to the user, and no reason to stop.
        notes = (error.message,)
        journal = Journal(None, identity, resume=False)

    def steps() -> Iterator[Step]:
        return ranking(judge.recovered.original, judge.quantized, islice(material.samples(), RANKING_SAMPLES), progress=progress)

    found = search(
        judge.trial((), first),
        journal.ranking(steps),
        journal.judging(judge),
        accuracy_drop_max=allowed,
        samples=len(material.evaluation),
        max_trials=max_trials,
        progress=progress,
    )
    kept = found.best.kept
    built = first if not kept else judge.last(kept) or judge.build(kept)
    journal.close()
    return replace(built, plan=judge.with_float(kept, found.why).plan, trials=found.trials, notes=notes)


def _number(figure: object, otherwise: float) -> float:
    return float(figure) if isinstance(figure, (int, float)) else otherwise


def _identity(judge: Judge, material: Material, accuracy_drop_max: float) -> dict[str, str]:
    """Name all that a trial depends on."""
    return {
        "plan": sha256_bytes(msgspec.json.encode(judge.recovered.plan, order="sorted")),
        "graph": judge.recovered.graph.sha256,
        "evaluation": material.evaluation.sha256,
        "accuracy_drop_max": repr(accuracy_drop_max),
        "edgekit": __version__,
        **judge.identity,
    }
