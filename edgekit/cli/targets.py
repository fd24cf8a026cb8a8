"""``edgekit targets``: the kinds of boards."""

from __future__ import annotations

import click
import msgspec

from edgekit.cli.output import Answer, json_option
from edgekit.cli.root import Group
from edgekit.target import Nvidia, load_target, target_names

__all__ = ["targets"]


@click.group(cls=Group)
def targets() -> None:
    """List the kinds of boards edgekit knows."""


@targets.command("list")
@json_option
def list_targets() -> Answer:
    """List all targets."""
    found = [load_target(name) for name in target_names()]
    rows = [(t.name, t.board, t.runtime, t.precision, t.finish, ", ".join(t.machines)) for t in found]
    data = {"targets": [msgspec.to_builtins(target) for target in found]}
    return Answer(data, lambda page: page.table(("target", "board", "runtime", "precision", "finished on", "machines"), rows))


@targets.command("show")
@click.argument("name")
@json_option
def show_target(name: str) -> Answer:
    """Show one target's file as edgekit understands it."""
    target = load_target(name)
    data = msgspec.to_builtins(target)
    rows = [(key, _nvidia(target.nvidia) if key == "nvidia" else _plain(value)) for key, value in data.items()]
    return Answer({"target": data}, lambda page: page.pairs(rows))


def _nvidia(nvidia: Nvidia | None) -> str:
    if nvidia is None:
        return "none"
    words = [
        f"compute capability {nvidia.compute_capability or 'any'}",
        f"{nvidia.dla_cores or 'no'} DLA core{'' if nvidia.dla_cores == 1 else 's'}",
        *([f"JetPack {' to '.join(nvidia.jetpack)}"] if nvidia.jetpack else []),
    ]
    return ", ".join(words)


def _plain(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value) or "any"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item is not None) or "none"
    return str(value)
