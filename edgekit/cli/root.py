"""The command table. A command's file is imported when the command runs, so that ``--help`` is quick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from edgekit._version import __version__
from edgekit.lazy import load
from edgekit.nearest import did_you_mean

__all__ = ["LazyGroup", "cli"]


class LazyGroup(click.Group):
    """A group that knows its commands' names and summaries without importing them.

    Parameters
    ----------
    table
        Command word -> (``"module:attribute"``, one-line summary).
    """

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = load(entry[0])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.table.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        # click looks for near misses among loaded commands only, and here none is loaded.
        if args and args[0] not in self.table and not args[0].startswith("-"):
            near = did_you_mean(args[0], self.table)
            raise click.UsageError(f"no command is called {args[0]!r}" + (f"; did you mean {near!r}?" if near else ""), ctx)
        return super().resolve_command(ctx, args)


_EPILOG = (
    "Exit codes: 0 ok, 1 gate failed, 2 usage, 3 input, 4 build, 5 device, 6 deploy, 7 inconsistent, "
    "8 inconclusive or invalid, 9 busy, 70 bug, 124 timeout, 130 interrupted."
)


@click.group(
    cls=LazyGroup,
    table={
        "build": ("edgekit.cli.build:build", "Quantize a float model for a target and prove it."),
        "deploy": ("edgekit.cli.deploy:deploy", "Make a bundle the current release on a device."),
        "probe": ("edgekit.cli.probe:probe", "Measure latency or accuracy on a device."),
        "status": ("edgekit.cli.deploy:status", "Show the releases on a device."),
        "rollback": ("edgekit.cli.deploy:rollback", "Make the previous release current again."),
        "inspect": ("edgekit.cli.inspect:inspect", "Show what a bundle holds, or verify it."),
        "targets": ("edgekit.cli.targets:targets", "List the kinds of boards edgekit knows."),
        "device": ("edgekit.cli.device:device", "Look at a device, or set up its runtime."),
        "report": ("edgekit.cli.report:report", "Show a saved report."),
        "completion": ("edgekit.cli.completion:completion", "Print the completion script of a shell."),
    },
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "EDGEKIT"},
    epilog=_EPILOG,
)
@click.version_option(__version__, prog_name="edgekit")
def cli() -> None:
    """Take a float model to a proven INT8 model on a real board: build, deploy, probe."""
