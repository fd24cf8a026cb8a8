"""``edgekit compare``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from edgekit.attribution import Changed, Compared, Step
from edgekit.cli.output import Answer, Page, json_option, progress_bars
from edgekit.cli.root import Command
from edgekit.cli.words import app_option, device_argument, open_project, project_option, resolve_device, root_option
from edgekit.pipeline.compare import compare as compare_on

__all__ = ["compare", "print_compared"]

_SHOWN_MAX = 20


@click.command(cls=Command)
@device_argument
@app_option
@click.option("--bundle", type=click.Path(path_type=Path), metavar="PATH", help="Compare this bundle's release [default: the current one].")
@click.option("--threads", type=click.IntRange(1, 256), help="Threads of the runtime [default: the target's].")
@project_option
@root_option
@json_option
def compare(
    device: str | None, app: str | None, bundle: Path | None, threads: int | None, project: Path | None, root: str | None
) -> Answer:
    """Say where a loss of accuracy on DEVICE comes from.

    Puts float on this host, INT8 on this host and INT8 on the board side by side on the evaluation set, and says what quantization, the
    board's kernels and its preprocessing each change, with the samples that changed. Preprocessing is held to account by a digest of
    the bytes that were fed.
    """
    declared, folder = open_project(project)
    board = resolve_device(declared, device, root)
    with progress_bars() as progress:
        found = compare_on(
            board, project=declared, folder=folder, app=app or declared.model.name, bundle=bundle, threads=threads, progress=progress
        )
    return Answer(msgspec.to_builtins(found), lambda page: print_compared(page, found))


def print_compared(page: Page, found: Compared) -> None:
    """Print a comparison for people."""
    told = found.attribution
    page.line((found.bundle.name, "bold"), f" for {found.bundle.target} {(found.bundle.digest or '')[:12]}, on {found.device}")
    page.line(f"INT8 on the host: {found.host_runtime}; on the board: {found.device_runtime}")
    if found.simulated:
        page.line((f"SIMULATED: this device stands in for {found.bundle.target}; its answers count", "yellow"))
    if told.scores:
        rows = [(one.name, f"{one.top1:.2%}", f"{one.low:.2%} .. {one.high:.2%}", f"{one.right} of {told.n}") for one in told.scores]
        page.table(("", "top-1", "95 %", "right"), rows)
    else:
        page.line("the samples have no labels: what changed is told, and not whether it was for the worse")
    page.table(("step", "changed", "lost", "won", "top-1", "95 %"), [_step(step) for step in told.steps])
    alike = f"the board fed the network the same bytes as this host on all {told.n} samples"
    page.line(
        f"the board fed the network other bytes than this host on {told.fed_otherwise} of {told.n} samples" if told.fed_otherwise else alike
    )
    for note in found.notes:
        page.line(f"note: {note}")
    if told.changed:
        page.table(("sample", "label", "float", "int8", "device", "by"), [_changed(one) for one in told.changed[:_SHOWN_MAX]])
        if len(told.changed) > _SHOWN_MAX:
            page.line(f"and {len(told.changed) - _SHOWN_MAX} more samples that changed: --json lists them all")


def _step(step: Step) -> tuple[str, ...]:
    if step.delta is None or step.low is None or step.high is None:
        return (step.name, str(step.changed), "", "", "", "")
    return (step.name, str(step.changed), str(step.losses), str(step.gains), f"{step.delta:+.2%}", f"{step.low:+.2%} .. {step.high:+.2%}")


def _changed(one: Changed) -> tuple[str, ...]:
    label = "" if one.label is None else str(one.label)
    return (str(one.number), label, str(one.float_host), str(one.int8_host), str(one.int8_device), ", ".join(one.causes))
