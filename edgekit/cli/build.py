"""``edgekit build``."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import msgspec
from click.core import ParameterSource

from edgekit.cli.output import Answer, Page, json_option, megabytes, progress_bars
from edgekit.cli.reports import print_report
from edgekit.cli.root import Command
from edgekit.cli.words import (
    choose_model,
    choose_target,
    model_option,
    open_project,
    project_option,
    resolve_device,
    resume_option,
    target_option,
)
from edgekit.pipeline.budget import MAX_TRIALS
from edgekit.pipeline.build import Built
from edgekit.pipeline.build import build as run_build
from edgekit.pipeline.finish import EngineOptions
from edgekit.project import Project
from edgekit.report import worst
from edgekit.target import Target, same_kind

__all__ = ["build"]


@click.command(cls=Command)
@target_option
@model_option
@project_option
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER", help="Where the bundle goes [default: build]."
)
@click.option("--allow-random", is_flag=True, help="Calibrate on random data; taints the bundle.")
@click.option(
    "--accuracy-drop-max",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="FRACTION",
    help="Loss of top-1 allowed, 0.01 is one point [default: the project's].",
)
@click.option(
    "--max-trials", type=click.IntRange(min=0), default=MAX_TRIALS, show_default=True, help="How many choices of float layers to judge."
)
@resume_option
@click.option("--device", metavar="NAME", help="TensorRT: the board that builds the engine now [default: each at its first deployment].")
@click.option(
    "--precision",
    type=click.Choice(["auto", "int8", "fp16", "mixed"]),
    help="TensorRT: auto races the others on the board [default: auto with --device, else the target's].",
)
@click.option("--dla-core", type=click.IntRange(0, 15), metavar="N", help="TensorRT: the deep-learning accelerator that takes what it can.")
@click.option("--workspace", type=click.IntRange(1, 1 << 20), metavar="MIB", help="TensorRT: most scratch memory of an engine.")
@json_option
@click.pass_context
def build(
    ctx: click.Context,
    target: str | None,
    model: Path | None,
    project: Path | None,
    output: Path | None,
    allow_random: bool,
    accuracy_drop_max: float | None,
    max_trials: int,
    resume: bool,
    device: str | None,
    precision: Literal["auto", "int8", "fp16", "mixed"] | None,
    dla_core: int | None,
    workspace: int | None,
) -> Answer:
    """Quantize a float model for a target and prove it.

    Calibrates on [calibration], writes the artifact, runs that very file on [evaluation] against
    the float model, and puts both with the proof into NAME-TARGET-DIGEST.edge.

    Where the accuracy budget is missed with everything in int8, it finds the fewest layers to keep in float.

    A TensorRT engine is built on the board: by the first deployment, or now on a reference board with --device, which also
    races INT8 against FP16 there and keeps what is fastest within the budget.

    Exits with 1 when the accuracy budget is missed, with 8 when the evaluation set is too small to tell.
    """
    declared, folder = open_project(project)
    if accuracy_drop_max is not None:
        declared = msgspec.structs.replace(declared, budget=msgspec.structs.replace(declared.budget, accuracy_drop_max=accuracy_drop_max))
    kind = choose_target(declared, target)
    board = resolve_device(declared, device, None) if device else None
    with progress_bars() as progress:
        built = run_build(
            declared,
            folder,
            kind,
            model_path=choose_model(declared, folder, model),
            output=output or folder / "build",
            allow_random=allow_random,
            max_trials=max_trials,
            resume=resume,
            engine=EngineOptions(precision, board, dla_core, workspace),
            progress=progress,
        )
    steps = _next_steps(ctx, declared, kind, built)
    data = {
        "bundle": str(built.path),
        "report": msgspec.to_builtins(built.report),
        "taints": list(built.manifest.taints),
        "notes": list(built.notes),
        "engine": _engine(built, steps),
    }
    return Answer(data, lambda page: _print(page, built, steps), worst(built.report))


@dataclass(frozen=True)
class _Steps:
    """Commands that make the engine which a bundle has none of: by the first deployment, or once on a reference board."""

    deploy: str
    build: str


def _next_steps(ctx: click.Context, project: Project, target: Target, built: Built) -> _Steps | None:
    """Return what is still to do, to be copied as it stands; None where nothing is."""
    if built.manifest.recipe is None or built.manifest.engine is not None:
        return None
    names = [name for name, section in project.devices.items() if section.target and same_kind(section.target, target.name)]
    name = names[0] if names else "NAME"
    own = ["--project", str(ctx.params["project"])] if ctx.params["project"] else []
    given = [
        word
        for option in ctx.command.params
        if isinstance(option, click.Option) and option.expose_value and option.name not in ("target", "resume", "device")
        if ctx.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
        for word in ([option.opts[-1]] if option.is_flag else [option.opts[-1], str(ctx.params[option.name])])
    ]
    return _Steps(
        deploy=shlex.join(["edgekit", "deploy", name, *own, "--bundle", str(built.path)]),
        build=shlex.join(["edgekit", "build", "--target", target.name, "--device", name, *given]),
    )


def _engine(built: Built, steps: _Steps | None) -> dict[str, Any] | None:
    """Return what a document says of the engine; None for a runtime that has none."""
    if built.manifest.recipe is None:
        return None
    recipe, engine = msgspec.to_builtins(built.manifest.recipe), built.manifest.engine
    commands = {"deploy": steps.deploy, "build": steps.build} if steps else {}
    return {"built": engine is not None, "key": engine and msgspec.to_builtins(engine.key), "recipe": recipe, "commands": commands}


def _print(page: Page, built: Built, steps: _Steps | None) -> None:
    print_report(page, built.report)
    for note in built.notes:
        page.line(("note:", "yellow"), f" {note}")
    for taint in built.manifest.taints:
        page.line(("tainted:", "red"), f" {taint}")
    page.line(f"bundle  {built.path}  ({megabytes(built.path.stat().st_size)})")
    if steps and built.manifest.recipe:
        page.line(("the engine will be built on the board", "yellow"), f" ({built.manifest.recipe.precision}):")
        page.line(f"  by the first deployment to each     {steps.deploy}")
        page.line(f"  or once, on a reference board       {steps.build}")
