"""``edgekit build``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from rich.console import Console

from edgekit.cli.output import json_option, megabytes, progress_bars, show
from edgekit.cli.reports import print_report
from edgekit.cli.words import open_project, project_option, target_option
from edgekit.errors import InputError, UsageError
from edgekit.pipeline.build import Built
from edgekit.pipeline.build import build as run_build
from edgekit.report import worst
from edgekit.target import load_target

__all__ = ["build"]


@click.command()
@target_option
@click.option("--model", "model_word", metavar="PATH", help="The float model [default: the project's].")
@project_option
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER", help="Where the bundle goes [default: build]."
)
@click.option("--allow-random", is_flag=True, help="Calibrate on random data; taints the bundle.")
@json_option
@click.pass_context
def build(
    ctx: click.Context,
    target: str | None,
    model_word: str | None,
    project_path: Path | None,
    output: Path | None,
    allow_random: bool,
    as_json: bool,
) -> None:
    """Quantize a float model for a target and prove it.

    Calibrates on [calibration], writes the artifact, runs that very file on [evaluation] against
    the float model, and puts both with the proof into NAME-TARGET-DIGEST.edge.

    Exits with 1 when the accuracy budget is missed, with 8 when the evaluation set is too small to tell.
    """
    project, folder = open_project(project_path)
    name = target or project.build.target
    if name is None:
        raise UsageError("which target?", fix="--target rpi4, or target = ... under [build]; all: edgekit targets list")
    if model_word:
        model = Path(model_word)
    elif project.model.path:
        model = folder / project.model.path
    else:
        raise InputError("no model", fix='--model PATH, or path = "..." under [model] in edgekit.toml')
    with progress_bars() as progress:
        built = run_build(
            project,
            folder,
            load_target(name),
            model_path=model,
            output=output or folder / "build",
            allow_random=allow_random,
            progress=progress,
        )
    code = worst(built.report)
    data = {"bundle": str(built.path), "report": msgspec.to_builtins(built.report), "taints": list(built.manifest.taints)}
    show("build", data, as_json=as_json, ok=code == 0, text=lambda out: _print(out, built))
    ctx.exit(code)


def _print(out: Console, built: Built) -> None:
    print_report(out, built.report)
    for taint in built.manifest.taints:
        out.print(f"[red]tainted:[/] {taint}")
    out.print(f"bundle  {built.path}  ({megabytes(built.path.stat().st_size)})")
