"""``edgekit probe``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import msgspec

from edgekit.cli.output import Answer, Page, json_option, progress_bars
from edgekit.cli.reports import print_report
from edgekit.cli.root import Group
from edgekit.cli.words import app_option, device_argument, open_project, project_option, resolve_device, root_option
from edgekit.digest import write_atomic
from edgekit.errors import InputError
from edgekit.pipeline.probe import probe_accuracy, probe_latency
from edgekit.report import Report, encode_report, worst

__all__ = ["probe"]

_threads = click.option("--threads", type=click.IntRange(1, 1024), help="Threads of the runtime [default: the target's].")
_report = click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Where the report goes [default: build/reports/..].",
)


@click.group(cls=Group)
def probe() -> None:
    """Measure latency or accuracy on a device."""


@probe.command()
@device_argument
@app_option
@_threads
@click.option("--min-time", type=click.FloatRange(0.1, 3600), default=3.0, show_default=True, help="Seconds to measure at least.")
@click.option(
    "--min-count", type=click.IntRange(1, 200_000), default=700, show_default=True, help="Runs to measure at least; 662 bound a p99."
)
@click.option("--cuda-graph", is_flag=True, help="Launch a TensorRT engine as one CUDA graph; the board needs cuda-bindings for it.")
@_report
@project_option
@root_option
@json_option
def latency(
    device: str | None,
    app: str | None,
    threads: int | None,
    min_time: float,
    min_count: int,
    cuda_graph: bool,
    report: Path | None,
    project: Path | None,
    root: str | None,
) -> Answer:
    """Measure how long the current release on DEVICE takes.

    Warms up until steady, then measures until both --min-time and --min-count are reached. Every
    raw sample is kept in the report. Exits with 8 when the figures are not valid, and says why.
    """
    declared, folder = open_project(project)
    board = resolve_device(declared, device, root)
    _check_place(report.parent if report else _reports(folder))
    with progress_bars() as progress:
        found = probe_latency(
            board,
            app=app or declared.model.name,
            threads=threads,
            min_time_s=min_time,
            min_count=min_count,
            cuda_graph=cuda_graph,
            progress=progress,
        )
    return _keep(found, "latency", report, folder)


@probe.command()
@device_argument
@app_option
@_threads
@_report
@project_option
@root_option
@json_option
def accuracy(
    device: str | None, app: str | None, threads: int | None, report: Path | None, project: Path | None, root: str | None
) -> Answer:
    """Run the project's [evaluation] set on DEVICE and judge it against the float model, sample by sample."""
    declared, folder = open_project(project)
    board = resolve_device(declared, device, root)
    _check_place(report.parent if report else _reports(folder))
    with progress_bars() as progress:
        found = probe_accuracy(board, declared.evaluation, folder, app=app or declared.model.name, threads=threads, progress=progress)
    return _keep(found, "accuracy", report, folder)


def _reports(folder: Path) -> Path:
    return folder / "build" / "reports"


def _check_place(folder: Path) -> None:
    """Refuse a folder that cannot be written to, or made, before the board measures: afterwards the figures would be lost."""
    try:
        nearest = next(there for there in (folder, *folder.absolute().parents) if there.exists())
        # Only the attempt tells: access rights alone know nothing of a read-only or a virtual file system.
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to: {error.strerror}", fix="name another place with --report") from error


def _keep(report: Report, probe_name: str, path: Path | None, folder: Path) -> Answer:
    stamp = report.environment["time"].replace(":", "").replace("+0000", "Z")
    saved = path or _reports(folder) / f"{report.bundle.name}-{probe_name}-{stamp}.json"
    write_atomic(saved, encode_report(report))

    def text(page: Page) -> None:
        print_report(page, report)
        page.line(f"report  {saved}")

    # The raw series stay in the file: they would drown the document.
    data = {"report": {**msgspec.to_builtins(report), "samples": {}}, "path": str(saved)}
    return Answer(data, text, worst(report))
