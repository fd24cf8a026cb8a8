"""Every command there is, found by walking the table, and a way to run one in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click
import pytest

from edgekit.cli import boundary
from edgekit.cli.root import Call, cli

__all__ = ["contexts", "run"]


def contexts(parent: click.Context | None = None) -> Iterator[click.Context]:
    """Yield a context for each command that does something, as Click makes them on the way there."""
    ctx = parent or click.Context(cli, info_name="edgekit", **cli.context_settings)
    if not isinstance(ctx.command, click.Group):
        yield ctx
        return
    for name in ctx.command.list_commands(ctx):
        command = ctx.command.get_command(ctx, name)
        assert command is not None
        yield from contexts(click.Context(command, info_name=name, parent=ctx))


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[str, int]:
    """Run ``edgekit WORDS`` up to the point where stdout would be written; returns the text and the exit code."""
    monkeypatch.setattr(sys, "argv", ["edgekit", *words])
    call = Call()
    return boundary._settle(call, boundary._attempt(call))
