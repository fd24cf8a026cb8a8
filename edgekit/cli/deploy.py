"""``edgekit deploy``, ``edgekit status`` and ``edgekit rollback``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.markup import escape

from edgekit.bundle import bundle_files, open_bundle
from edgekit.cli.output import json_option, megabytes, progress_bars, show, table
from edgekit.cli.words import app_option, device_argument, open_project, project_option, resolve_device, root_option
from edgekit.errors import InputError, UsageError
from edgekit.pipeline import deploy as pipeline
from edgekit.pipeline.deploy import Deployed

__all__ = ["deploy", "rollback", "status"]


@click.command()
@device_argument
@click.option("--bundle", "bundle_path", type=click.Path(path_type=Path), metavar="PATH", help="The bundle [default: the newest in build].")
@click.option("--stand-in", is_flag=True, help="Accept a machine of another kind; all its figures are marked simulated.")
@click.option("--dry-run", is_flag=True, help="Check the device and say what would be sent.")
@project_option
@root_option
@json_option
def deploy(
    device: str | None,
    bundle_path: Path | None,
    stand_in: bool,
    dry_run: bool,
    project_path: Path | None,
    root: str | None,
    as_json: bool,
) -> None:
    """Make a bundle the current release on DEVICE: a name under [devices], user@host, or local.

    Only what the device lacks is sent. The golden samples run there before one atomic rename makes
    the release current; if anything fails on the way, the old release goes on.
    """
    project, folder = open_project(project_path)
    board = resolve_device(project, device, root)
    path = bundle_path or _newest(folder / "build")
    with open_bundle(path) as bundle, progress_bars() as progress:
        done = pipeline.deploy(bundle, board, stand_in=stand_in, dry_run=dry_run, progress=progress)
    data = {**msgspec.to_builtins(done), "bundle": str(path), "dry_run": dry_run}
    show("deploy", data, as_json=as_json, text=lambda out: _print(out, done, dry_run))


def _newest(folder: Path) -> Path:
    found = bundle_files(folder)
    if not found:
        raise InputError(f"{folder}: no bundle in it", fix="edgekit build --target NAME, or name one with --bundle")
    return found[0]


def _print(out: Console, done: Deployed, dry_run: bool) -> None:
    share = f"{megabytes(done.bytes_sent)} of {megabytes(done.bytes_total)}"
    if dry_run:
        out.print(f"{escape(done.device)}: would send {share}; nothing was changed")
        return
    golden = f"golden check {done.golden['count']} samples, largest difference {done.golden['max_diff']:g} steps"
    out.print(f"[green]deployed[/] {done.app} {done.release[:12]} to {escape(done.device)}: sent {share}; {golden}")
    if done.previous and done.previous != done.release:
        out.print(f"previous release {done.previous[:12]}; go back with: edgekit rollback")
    if done.stand_in:
        out.print("[yellow]this device is not the board the bundle was built for: every figure from it is marked simulated[/]")


@click.command()
@device_argument
@project_option
@root_option
@json_option
def status(device: str | None, project_path: Path | None, root: str | None, as_json: bool) -> None:
    """Show the applications on DEVICE, the release each one runs, and whether it is whole."""
    project, _ = open_project(project_path)
    answer = pipeline.status(resolve_device(project, device, root))
    show("status", answer, as_json=as_json, text=lambda out: _print_status(out, answer))


def _print_status(out: Console, answer: dict[str, Any]) -> None:
    if not answer["apps"]:
        out.print("nothing is deployed there")
    rows = [
        (
            app["name"],
            (app["current"] or "none")[:12],
            (app["previous"] or "none")[:12],
            "whole" if app["whole"] else "DAMAGED",
            str(app["activated_at"] or ""),
            megabytes(app["bytes"]),
        )
        for app in answer["apps"]
    ]
    if rows:
        table(out, ("application", "current", "previous", "state", "since", "size"), rows)
    out.print(f"{megabytes(answer['free_bytes'])} free")


@click.command()
@device_argument
@app_option
@project_option
@root_option
@json_option
def rollback(device: str | None, app: str | None, project_path: Path | None, root: str | None, as_json: bool) -> None:
    """Make the previous release on DEVICE current again, once it has been found whole."""
    project, _ = open_project(project_path)
    board = resolve_device(project, device, root)
    name = app or project.model.name
    if name is None:
        names = [found["name"] for found in pipeline.status(board)["apps"]]
        if len(names) != 1:
            raise UsageError("which application?", fix=f"name it with --app; there are: {', '.join(names) or 'none'}")
        name = names[0]
    answer = pipeline.rollback(board, name)
    show(
        "rollback",
        {"app": name, **answer},
        as_json=as_json,
        text=lambda out: out.print(f"{name}: current is {answer['release'][:12]} again"),
    )
