"""``edgekit device``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from rich.console import Console

from edgekit.cli.output import json_option, megabytes, progress_bars, show, table
from edgekit.cli.words import device_argument, open_project, project_option, resolve_device, root_option
from edgekit.device import Facts
from edgekit.pipeline.provision import device_facts, set_up

__all__ = ["device"]


@click.group()
def device() -> None:
    """Look at a device, or set up its runtime."""


@device.command()
@device_argument
@project_option
@root_option
@json_option
def facts(device: str | None, project_path: Path | None, root: str | None, as_json: bool) -> None:
    """Show what DEVICE is: machine, system, Python, runtimes, room, sensors."""
    project, _ = open_project(project_path)
    found = device_facts(resolve_device(project, device, root))
    show("facts", {"facts": msgspec.to_builtins(found)}, as_json=as_json, text=lambda out: _print(out, found))


@device.command()
@device_argument
@project_option
@root_option
@json_option
def setup(device: str | None, project_path: Path | None, root: str | None, as_json: bool) -> None:
    """Give DEVICE the runtime that fits it, through this machine: it needs no internet and no pip."""
    project, _ = open_project(project_path)
    with progress_bars() as progress:
        found = set_up(resolve_device(project, device, root), progress)
    show("setup", {"facts": msgspec.to_builtins(found)}, as_json=as_json, text=lambda out: _print(out, found))


def _print(out: Console, facts: Facts) -> None:
    rows = [
        ("board", facts.board or "unknown"),
        ("machine", f"{facts.machine}, {facts.cores} cores, {facts.cpu or 'cpu unknown'}"),
        ("system", f"{facts.system}, {facts.kernel}, glibc {facts.glibc or 'none'}"),
        ("python", f"{facts.python} ({facts.python_path})"),
        ("numpy", facts.numpy or "none"),
        *(
            ("runtime", f"{r.name} {r.version}" + (f", private ({r.lock})" if r.lock else "") + (f": {r.error}" if r.error else ""))
            for r in facts.runtimes
        ),
        ("memory", f"{megabytes(facts.memory_available_bytes)} of {megabytes(facts.memory_total_bytes)} available"),
        ("disk", f"{megabytes(facts.disk_free_bytes)} free"),
        *(("sensor", f"{s.name} {s.value:g} {s.unit}") for s in facts.sensors),
    ]
    if not facts.runtimes:
        rows.append(("runtime", "none: edgekit device setup"))
    if facts.simulated:
        rows.append(("simulated", "yes: its times say nothing about a board"))
    table(out, ("", ""), rows)
