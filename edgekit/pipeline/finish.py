"""How a build ends: what goes into the bundle beside the proof, and who makes the last form of it. Called by ``build``.

Where a target's runtime loads the artifact as it is, nothing is left to do. A TensorRT engine is built on the board: now, where a
reference board is named, or by the first deployment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import msgspec

from edgekit.device import Address, Device
from edgekit.engine import EngineFile, EnginePrecision, Recipe
from edgekit.errors import InputError, UsageError
from edgekit.layers import layer_summary
from edgekit.manifest import Golden
from edgekit.measurement import Measurement
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.engine import TENSORRT
from edgekit.pipeline.enginecache import ENGINE, LAYERS
from edgekit.pipeline.onboard import Made, make
from edgekit.pipeline.precision import Candidate, Precisions
from edgekit.pipeline.rtx import check
from edgekit.pipeline.trials import Chosen
from edgekit.target import Target

__all__ = ["GOLDEN_COUNT", "AnyPrecision", "EngineOptions", "Finished", "finish_engine"]

GOLDEN_COUNT = 8
AnyPrecision = EnginePrecision | Literal["auto"]
_NAMES_MAX = 5
_ENGINE, _LAYERS = "engine/model.plan", "engine/layers.json"


@dataclass(frozen=True)
class EngineOptions:
    """What the user says of an engine.

    Attributes
    ----------
    precision
        ``"auto"`` races all of them on the board; None is ``"auto"`` where there is a board, else the target's.
    device
        The board that builds the engine now; None leaves it to the first deployment.
    """

    precision: AnyPrecision | None = None
    device: Device | None = None
    dla_core: int | None = None
    workspace_mib: int | None = None

    def settled(self, target: Target) -> EngineOptions:
        """Return what holds for a target.

        Raises
        ------
        UsageError
            The target has no engine, not that accelerator, or nobody could race.
        """
        if target.runtime != TENSORRT:
            if self != EngineOptions():
                raise UsageError(
                    f"--device, --precision, --dla-core and --workspace are about TensorRT engines; {target.name} runs {target.runtime}",
                    fix="leave them out, or name a target with the runtime tensorrt: edgekit targets list",
                )
            return self
        cores = target.nvidia.dla_cores if target.nvidia else 0
        if self.dla_core is not None and self.dla_core >= cores:
            has = f"accelerators 0 to {cores - 1}" if cores else "no deep-learning accelerator that edgekit knows of"
            raise UsageError(
                f"--dla-core {self.dla_core}: {target.name} has {has}", fix="leave it out, or name the very board: edgekit targets list"
            )
        device = self.device
        if device is None and target.finish == "host":
            device = Device(name="local", address=Address.parse("local"))
        if device is None and self.precision == "auto":
            raise UsageError(
                "--precision auto races engines on a board, and none is named: which precision is fastest cannot be told without one",
                fix="--device NAME, or --precision int8, fp16 or mixed",
            )
        return EngineOptions(self.precision or ("auto" if device else target.precision), device, self.dla_core, self.workspace_mib)


@dataclass(frozen=True)
class Finished:
    """What a bundle holds beside plan, report and evaluation.

    Attributes
    ----------
    chosen
        What the report tells of.
    artifact_name
        The file that stands for the bundle on the host.
    files
        By path, golden files among them.
    float32_nodes
        Node -> why it is float32 where the others are float16.
    """

    chosen: Chosen
    artifact_name: str
    files: dict[str, bytes]
    tolerance: int
    recipe: Recipe | None = None
    engine: EngineFile | None = None
    float32_nodes: Mapping[str, str] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    samples: dict[str, tuple[int, ...]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def finish_engine(
    precisions: Precisions, options: EngineOptions, target: Target, golden: Golden, scratch: Path, *, progress: Progress = silent
) -> Finished:
    """Write the files of a TensorRT build, and let the board that is named build of them.

    Raises
    ------
    BuildError
        NVIDIA's compiler refuses a file, or the board cannot build.
    DeviceError
        The board cannot be reached, or stays away.
    """
    assert options.precision is not None
    wanted: tuple[EnginePrecision, ...] = ("int8", "mixed", "fp16") if options.precision == "auto" else (options.precision,)
    candidates = {precision: precisions.make(precision, golden, GOLDEN_COUNT, progress=progress) for precision in wanted}
    files = {name: data for candidate in candidates.values() for name, data in candidate.files.items()}
    checked = check(files, scratch, progress=progress)
    environment = {"tensorrt-rtx": checked.version or "not checked"}
    if options.device is None:
        (candidate,) = candidates.values()
        return _finished(candidate, precisions, environment, checked.notes)
    made = make(options.device, target, candidates, precisions.contest(target.threads), scratch, progress=progress)
    candidate, engine, race = candidates[made.winner], made.engines[made.winner], made.race
    notes = [*checked.notes, *_notes(made)]
    environment |= {"engine_board": engine.account.key.board, "tensorrt": engine.account.key.tensorrt, "builder": engine.account.builder}
    finished = _finished(candidate, precisions, environment, tuple(notes))
    chosen = finished.chosen
    if race and race.verdicts:  # the engine's own answers count for more than those of the file it was built from
        chosen = replace(chosen, findings=msgspec.structs.replace(chosen.findings, verdicts=race.verdicts))
    return replace(
        finished,
        chosen=chosen,
        files={**finished.files, _ENGINE: engine.read(ENGINE), _LAYERS: engine.read(LAYERS)},
        engine=EngineFile(_ENGINE, _LAYERS, engine.account.key),
        measurements=race.measurements if race else (),
        samples=race.samples if race else {},
    )


def _notes(made: Made) -> Iterator[str]:
    """Say what there is to know of the engines."""
    if made.race:
        yield from made.race.notes
    else:
        yield "the engine did not run on the board, whose Python has no TensorRT: the figures are this host's, of the file it is made of"
    if made.reused:
        yield "nothing was built or measured now: an earlier build did both, on this board or one of its kind"
    for precision, engine in made.engines.items():
        try:
            yield f"{precision}: {layer_summary(engine.read(LAYERS), LAYERS).sentence}"
        except InputError as error:
            yield f"{precision}: {error.message}"
        yield from (f"{precision}: the builder warns: {warning}" for warning in engine.account.warnings)
        if fallback := engine.account.fallback:
            named = ", ".join(fallback[:_NAMES_MAX]) + (" and more" if len(fallback) > _NAMES_MAX else "")
            yield f"{precision}: {len(fallback)} layers left the deep-learning accelerator for the GPU: {named}"


def _finished(candidate: Candidate, precisions: Precisions, environment: dict[str, str], notes: tuple[str, ...]) -> Finished:
    recipe = candidate.recipe
    return Finished(
        chosen=candidate.chosen,
        artifact_name=candidate.artifact_name,
        files={**candidate.files, **candidate.golden},
        tolerance=candidate.tolerance,
        recipe=recipe,
        float32_nodes={name: precisions.overflow[name] for name in recipe.float32_nodes},
        environment={"precision": recipe.precision, **environment},
        notes=notes,
    )
