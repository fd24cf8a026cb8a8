"""``edgekit build``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from edgekit.cli.output import Answer, Page, json_option, megabytes, progress_bars
from edgekit.cli.reports import print_report
from edgekit.cli.root import Command
from edgekit.cli.words import choose_model, choose_target, model_option, open_project, project_option, resume_option, target_option
from edgekit.pipeline.budget import MAX_TRIALS
from edgekit.pipeline.build import Built
from edgekit.pipeline.build import build as run_build
from edgekit.report import worst

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
@json_option
def build(
    target: str | None,
    model: Path | None,
    project: Path | None,
    output: Path | None,
    allow_random: bool,
    accuracy_drop_max: float | None,
    max_trials: int,
    resume: bool,
) -> Answer:
    """Quantize a float model for a target and prove it.

    Calibrates on [calibration], writes the artifact, runs that very file on [evaluation] against
    the float model, and puts both with the proof into NAME-TARGET-DIGEST.edge.

    Where the accuracy budget is missed with everything in int8, it finds the fewest layers to keep in float.

    Exits with 1 when the accuracy budget is missed, with 8 when the evaluation set is too small to tell.
    """
    declared, folder = open_project(project)
    if accuracy_drop_max is not None:
        declared = msgspec.structs.replace(declared, budget=msgspec.structs.replace(declared.budget, accuracy_drop_max=accuracy_drop_max))
    with progress_bars() as progress:
        built = run_build(
            declared,
            folder,
            choose_target(declared, target),
            model_path=choose_model(declared, folder, model),
            output=output or folder / "build",
            allow_random=allow_random,
            max_trials=max_trials,
            resume=resume,
            progress=progress,
        )
    data = {
        "bundle": str(built.path),
        "report": msgspec.to_builtins(built.report),
        "taints": list(built.manifest.taints),
        "notes": list(built.notes),
    }
    return Answer(data, lambda page: _print(page, built), worst(built.report))


def _print(page: Page, built: Built) -> None:
    print_report(page, built.report)
    for note in built.notes:
        page.line(("note:", "yellow"), f" {note}")
    for taint in built.manifest.taints:
        page.line(("tainted:", "red"), f" {taint}")
    page.line(f"bundle  {built.path}  ({megabytes(built.path.stat().st_size)})")
