"""``edgekit completion SHELL``: the script a shell sources to complete edgekit's words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from edgekit.cli.root import Command, cli

__all__ = ["completion"]


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    For bash: add  eval "$(edgekit completion bash)"  to ~/.bashrc.
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click ships these three"
    click.echo(kind(cli, {}, "edgekit", "_EDGEKIT_COMPLETE").source())
