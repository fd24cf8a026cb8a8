"""A build for TensorRT, precision by precision: each one's files, and the host's proof of them. Called by ``finish``.

The host runs the files in onnxruntime, which computes what they say. An engine computes the same in other kernels, so its own
figures come from the board.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from edgekit.engine import EnginePrecision, Recipe
from edgekit.manifest import Golden
from edgekit.ondevice.tensorrt.key import SOURCES
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.quantize import Quantized
from edgekit.pipeline.reference import Reference
from edgekit.pipeline.trials import Chosen, Judge
from edgekit.pipeline.verify import answers, golden_files, wire_layout
from edgekit.quantize.half import overflowing
from edgekit.runtimes import Artifact
from edgekit.runtimes.qdq import TensorRtQdq

__all__ = ["Candidate", "Contest", "Precisions"]

_TOLERANCE_MIN = 4
"""Steps of the golden check. A layer's INT8 sums are exact in any kernel; they differ in when a result is rounded, by a step of one
tensor, and in float32 layers by TF32, whose mantissa is as short as float16's (NVIDIA A100 whitepaper, "TensorFloat-32"). How far the
second goes in this very network shows the file's twin in float16; the golden check allows twice that. Not proven on hardware."""


@dataclass(frozen=True)
class Candidate:
    """One precision: how an engine of it is built, and what the host found.

    Attributes
    ----------
    files
        The recipe's, by path in the bundle.
    chosen
        Its ``artifact`` is the file that stands for the engine on the host.
    golden, tolerance
        See `edgekit.pipeline.verify.golden_files`.
    """

    recipe: Recipe
    files: dict[str, bytes]
    chosen: Chosen
    golden: dict[str, bytes]
    tolerance: int

    @property
    def artifact_name(self) -> str:
        """Of the file that stands for the engine on the host."""
        return SOURCES[self.recipe.precision]["weak"]


@dataclass(frozen=True)
class Contest:
    """What a board judges engines by: the evaluation set, as `edgekit.pipeline.race.race` takes it."""

    container: Path
    preprocess: Mapping[str, Any]
    labels: tuple[int, ...] | None
    float_predictions: tuple[int, ...]
    accuracy_drop_max: float | None
    threads: int


class Precisions:
    """Makes candidates of one calibrated network."""

    def __init__(
        self, emitter: TensorRtQdq, judge: Judge, chosen: Chosen, quantized: Quantized, *, dla_core: int | None, workspace_mib: int | None
    ) -> None:
        self._emitter, self._judge, self._chosen, self._quantized = emitter, judge, chosen, quantized
        self._dla_core, self._workspace_mib = dla_core, workspace_mib

    @cached_property
    def overflow(self) -> dict[str, str]:
        """Node -> why it is kept in float32 where the others are float16."""
        return overflowing(self._quantized.recovered.original, self._quantized.extremes)

    def make(self, precision: EnginePrecision, golden: Golden, count: int, *, progress: Progress = silent) -> Candidate:
        """Write a precision's files and run them here.

        Parameters
        ----------
        golden, count
            Names of the golden files, and of how many samples they are.

        Raises
        ------
        BuildError
            The emitter cannot say it, or onnxruntime does not run it.
        """
        reference = self._judge.reference
        files, twin = self._files(precision)
        float32 = () if precision == "int8" else tuple(sorted(self.overflow))
        recipe = Recipe(
            precision=precision,
            files={"weak": SOURCES[precision]["weak"], "strong": SOURCES[precision]["strong"]},
            workspace_mib=self._workspace_mib,
            dla_core=self._dla_core,
            float32_nodes=float32,
        )
        chosen = replace(self._chosen, artifact=self._artifact(files[SOURCES[precision]["weak"]]))
        if precision == "fp16":
            chosen = self._float16(chosen, twin, reference, progress)
        least = msgspec.structs.replace(golden, tolerance=_TOLERANCE_MIN)
        kept, tolerance = golden_files(chosen.artifact, reference, least, count, twin=twin)
        return Candidate(recipe, files, chosen, kept, tolerance)

    def contest(self, threads: int) -> Contest:
        """Return what a board judges engines by: the evaluation set, and what the float network says of it."""
        reference, artifact = self._judge.reference, self._chosen.artifact
        return Contest(
            container=reference.evaluation.container,
            preprocess=reference.feed.to_wire(layout=wire_layout(artifact, reference.feed)),
            labels=reference.evaluation.labels,
            # A race is judged by classes; where another metric counts, it is run for speed alone.
            float_predictions=() if reference.scorer else self._chosen.answers.float_predictions,
            accuracy_drop_max=self._judge.budget.accuracy_drop_max,
            threads=threads,
        )

    def _files(self, precision: EnginePrecision) -> tuple[dict[str, bytes], Artifact]:
        """Return what builders read, and the file's twin, which is float16 where the file is float32."""
        graph = self._quantized.recovered.original if precision == "fp16" else self._chosen.graph
        twin: EnginePrecision = "fp16" if precision == "fp16" else "mixed"
        files = self._emitter.engine_files(graph, self._chosen.plan, precision, self.overflow)
        return files, self._artifact(self._emitter.twin(graph, self._chosen.plan, twin, self.overflow))

    def _float16(self, chosen: Chosen, twin: Artifact, reference: Reference, progress: Progress) -> Chosen:
        """Judge a network without INT8 by its float16 file: the plan and the trials were about another."""
        found = answers(twin, reference, progress=progress)
        return replace(chosen, answers=found, findings=self._judge.findings(found), trials=())

    def _artifact(self, data: bytes) -> Artifact:
        return replace(self._chosen.artifact, data=data)
