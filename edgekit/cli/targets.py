"""``edgekit targets``: the kinds of boards."""

from __future__ import annotations

import click
import msgspec

from edgekit.cli.output import json_option, show, table
from edgekit.target import load_target, target_names

__all__ = ["targets"]


@click.group()
def targets() -> None:
    """List the kinds of boards edgekit knows."""


@targets.command("list")
@json_option
def list_targets(as_json: bool) -> None:
    """List all targets."""
    found = [load_target(name) for name in target_names()]
    rows = [(t.name, t.board, t.runtime, t.precision, ", ".join(t.machines)) for t in found]
    data = {"targets": [msgspec.to_builtins(target) for target in found]}
    show("targets", data, as_json=as_json, text=lambda out: table(out, ("target", "board", "runtime", "precision", "machines"), rows))


@targets.command("show")
@click.argument("name")
@json_option
def show_target(name: str, as_json: bool) -> None:
    """Show one target's file as edgekit understands it."""
    target = msgspec.to_builtins(load_target(name))
    rows = [(key, _plain(value)) for key, value in target.items()]
    show("targets", {"target": target}, as_json=as_json, text=lambda out: table(out, ("key", "value"), rows))


def _plain(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value) or "any"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item is not None) or "none"
    return str(value)
