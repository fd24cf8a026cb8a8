"""``edgekit build``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from edgekit.cli.output import Answer, Page, json_option, megabytes, progress_bars
from edgekit.cli.reports import print_report
from edgekit.cli.root import Command
from edgekit.cli.words import open_project, project_option, target_option
from edgekit.errors import InputError, UsageError
from edgekit.pipeline.build import Built
from edgekit.pipeline.build import build as run_build
from edgekit.report import worst
from edgekit.target import load_target

__all__ = ["build"]


@click.command(cls=Command)
@target_option
@click.option("--model", type=click.Path(path_type=Path), metavar="PATH", help="The float model [default: the project's].")
@project_option
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER", help="Where the bundle goes [default: build]."
)
@click.option("--allow-random", is_flag=True, help="Calibrate on random data; taints the bundle.")
@json_option
def build(target: str | None, model: Path | None, project: Path | None, output: Path | None, allow_random: bool) -> Answer:
    """Quantize a float model for a target and prove it.

    Calibrates on [calibration], writes the artifact, runs that very file on [evaluation] against
    the float model, and puts both with the proof into NAME-TARGET-DIGEST.edge.

    Exits with 1 when the accuracy budget is missed, with 8 when the evaluation set is too small to tell.
    """
    declared, folder = open_project(project)
    name = target or declared.build.target
    if name is None:
        raise UsageError("which target?", fix="--target rpi4, or target = ... under [build]; all: edgekit targets list")
    if model is None:
        if declared.model.path is None:
            raise InputError("no model", fix='--model PATH, or path = "..." under [model] in edgekit.toml')
        model = folder / declared.model.path
    with progress_bars() as progress:
        built = run_build(
            declared,
            folder,
            load_target(name),
            model_path=model,
            output=output or folder / "build",
            allow_random=allow_random,
            progress=progress,
        )
    data = {"bundle": str(built.path), "report": msgspec.to_builtins(built.report), "taints": list(built.manifest.taints)}
    return Answer(data, lambda page: _print(page, built), worst(built.report))


def _print(page: Page, built: Built) -> None:
    print_report(page, built.report)
    for taint in built.manifest.taints:
        page.line(("tainted:", "red"), f" {taint}")
    page.line(f"bundle  {built.path}  ({megabytes(built.path.stat().st_size)})")
