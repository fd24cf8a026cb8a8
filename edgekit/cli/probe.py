"""``edgekit probe``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from rich.console import Console

from edgekit.cli.output import json_option, progress_bars, show
from edgekit.cli.reports import print_report
from edgekit.cli.words import app_option, device_argument, open_project, project_option, resolve_device, root_option
from edgekit.dataset import open_dataset
from edgekit.digest import write_atomic
from edgekit.errors import InputError
from edgekit.pipeline.probe import probe_accuracy, probe_latency
from edgekit.report import Report, encode_report, worst

__all__ = ["probe"]

_threads = click.option("--threads", type=click.IntRange(1, 1024), help="Threads of the runtime [default: the target's].")
_report = click.option(
    "--report",
    "report_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Where the report goes [default: build/reports/..].",
)


@click.group()
def probe() -> None:
    """Measure latency or accuracy on a device."""


@probe.command()
@device_argument
@app_option
@_threads
@click.option(
    "--min-time", "min_time_s", type=click.FloatRange(0.1, 3600), default=3.0, show_default=True, help="Seconds to measure at least."
)
@click.option(
    "--min-count", type=click.IntRange(1, 200_000), default=700, show_default=True, help="Runs to measure at least; 662 bound a p99."
)
@_report
@project_option
@root_option
@json_option
@click.pass_context
def latency(
    ctx: click.Context,
    device: str | None,
    app: str | None,
    threads: int | None,
    min_time_s: float,
    min_count: int,
    report_path: Path | None,
    project_path: Path | None,
    root: str | None,
    as_json: bool,
) -> None:
    """Measure how long the current release on DEVICE takes.

    Warms up until steady, then measures until both --min-time and --min-count are reached. Every
    raw sample is kept in the report. Exits with 8 when the figures are not valid, and says why.
    """
    project, folder = open_project(project_path)
    board = resolve_device(project, device, root)
    with progress_bars() as progress:
        report = probe_latency(
            board, app=app or project.model.name, threads=threads, min_time_s=min_time_s, min_count=min_count, progress=progress
        )
    _finish(ctx, report, "latency", report_path, folder, as_json=as_json)


@probe.command()
@device_argument
@app_option
@_threads
@_report
@project_option
@root_option
@json_option
@click.pass_context
def accuracy(
    ctx: click.Context,
    device: str | None,
    app: str | None,
    threads: int | None,
    report_path: Path | None,
    project_path: Path | None,
    root: str | None,
    as_json: bool,
) -> None:
    """Run the project's [evaluation] set on DEVICE and judge it against the float model, sample by sample."""
    project, folder = open_project(project_path)
    section = project.evaluation
    if section.dataset is None:
        raise InputError("no evaluation set", fix='run in the project\'s folder, or write [evaluation] dataset = "..." in edgekit.toml')
    board = resolve_device(project, device, root)
    evaluation = open_dataset(section.dataset, folder, skip=section.skip, samples=section.samples)
    with progress_bars() as progress:
        report = probe_accuracy(board, evaluation, app=app or project.model.name, threads=threads, progress=progress)
    _finish(ctx, report, "accuracy", report_path, folder, as_json=as_json)


def _finish(ctx: click.Context, report: Report, probe_name: str, path: Path | None, folder: Path, *, as_json: bool) -> None:
    stamp = report.environment["time"].replace(":", "").replace("+0000", "Z")
    saved = path or folder / "build" / "reports" / f"{report.bundle.name}-{probe_name}-{stamp}.json"
    write_atomic(saved, encode_report(report))
    code = worst(report)

    def text(out: Console) -> None:
        print_report(out, report)
        out.print(f"report  {saved}")

    # The raw series stay in the file: they would drown the document.
    data = {"report": {**msgspec.to_builtins(report), "samples": {}}, "path": str(saved)}
    show("probe", data, as_json=as_json, ok=code == 0, text=text)
    ctx.exit(code)
