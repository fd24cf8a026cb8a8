"""``edgekit calibrate``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.output import Answer, Page, json_option, progress_bars
from edgekit.cli.root import Command
from edgekit.cli.words import choose_model, choose_target, model_option, open_project, project_option, resume_option, target_option
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.pipeline.calibrate import Calibrated, Shard

__all__ = ["calibrate"]


@click.command(cls=Command)
@click.argument("parts", nargs=-1, type=click.Path(path_type=Path, dir_okay=False), metavar="[PART]...")
@target_option
@model_option
@project_option
@click.option("--shard", metavar="I/N", help="Observe only the I-th of N parts of the set; needs --output.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write what was seen to a file as well.")
@resume_option
@json_option
def calibrate(
    parts: tuple[Path, ...],
    target: str | None,
    model: Path | None,
    project: Path | None,
    shard: str | None,
    output: Path | None,
    resume: bool,
) -> Answer:
    """Observe the calibration set ahead of a build.

    What it sees goes to the user's cache, where every build of the same model, set and preprocessing
    finds it. The work can be shared out: each process or machine observes a --shard of its own, and one call
    with all their PARTs puts them together, and observes what they lack. The result is the same to the last bit.
    """
    from edgekit.pipeline.calibrate import calibrate as run_calibrate

    if shard and (parts or not output):
        fix = "edgekit calibrate --shard 1/4 --output part1.obs; with all parts there, edgekit calibrate part*.obs"
        raise UsageError("a shard needs a file of its own", fix=fix)
    declared, folder = open_project(project)
    with progress_bars() as progress:
        found = run_calibrate(
            declared,
            folder,
            choose_target(declared, target),
            model_path=choose_model(declared, folder, model),
            shard=_shard(shard) if shard else None,
            parts=parts,
            output=output,
            resume=resume,
            progress=progress,
        )
    seen = found.observations
    data = {
        "samples": seen.count,
        "of": seen.identity.samples,
        "reused": found.reused,
        "tensors": len(seen.histograms),
        "output": str(output) if output else None,
        "notes": list(found.notes),
    }
    return Answer(data, lambda page: _print(page, found, output))


def _shard(words: str) -> Shard:
    from edgekit.pipeline.calibrate import Shard

    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", words)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard {words}: it must be I/N with I from 1 to N", fix="--shard 1/4 is the first of four")
    return Shard(int(match[1]), int(match[2]))


def _print(page: Page, found: Calibrated, output: Path | None) -> None:
    seen = found.observations
    page.line(f"{seen.count} of {seen.identity.samples} calibration samples observed, {found.reused} of them before")
    for note in found.notes:
        page.line(("note:", "yellow"), f" {note}")
    if output:
        page.line(f"written {output}")
