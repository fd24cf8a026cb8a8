"""The command table. A command's file is imported when the command runs, so that ``--help`` is quick.

Every option's parameter is named after its flag, because Click makes the name of the environment
variable from it: ``--min-time`` of ``probe latency`` is ``EDGEKIT_PROBE_LATENCY_MIN_TIME``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from edgekit._version import __version__
from edgekit.lazy import load
from edgekit.nearest import did_you_mean

__all__ = ["Call", "Command", "Group", "LazyGroup", "cli"]


@dataclass
class Call:
    """What the boundary must know of a call, also when it ends before its command begins.

    Attributes
    ----------
    command
        The command's words, as far as they were understood: ``("device", "facts")``.
    json
        One JSON document was asked for.
    """

    command: tuple[str, ...] = ()
    json: bool = False

    @property
    def schema(self) -> str:
        """The document's name, the same on success and failure: ``edgekit.device-facts/1``."""
        # A saved report calls itself edgekit.report/1; the document of `edgekit report` holds several.
        word = "reports" if self.command == ("report",) else "-".join(self.command)
        return f"{'.'.join(filter(None, ('edgekit', word)))}/1"

    def note(self, ctx: click.Context, args: list[str]) -> None:
        """Remember where the call has got to; ``args`` are the words that follow."""
        self.command = tuple(ctx.command_path.split()[1:])
        self.json = "--json" in (args[: args.index("--")] if "--" in args else args)
        # Once the words are parsed, the option itself has the say; this serves errors that come before.
        with contextlib.suppress(click.BadParameter):
            self.json |= bool(click.BOOL.convert(os.environ.get(f"{ctx.auto_envvar_prefix}_JSON") or "no", None, None))


class Command(click.Command):
    """A command that tells the boundary its name before it reads its words."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.ensure_object(Call).note(ctx, args)
        return super().parse_args(ctx, args)


class Group(click.Group):
    """A group of such commands; alone, it shows its help as a usage error."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.ensure_object(Call).note(ctx, args)
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        # Click looks for near misses among loaded commands only, and in LazyGroup none is loaded.
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            near = did_you_mean(args[0], known)
            raise click.UsageError(f"no command is called {args[0]!r}" + (f"; did you mean {near!r}?" if near else ""), ctx)
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
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


_EPILOG = (
    "Exit codes: 0 ok, 1 gate failed, 2 usage, 3 input, 4 build, 5 device, 6 deploy, 7 inconsistent, "
    "8 inconclusive or invalid, 9 busy, 70 bug, 124 timeout, 130 interrupted, 143 terminated."
)


@click.group(
    cls=LazyGroup,
    table={
        "build": ("edgekit.cli.build:build", "Quantize a float model for a target and prove it."),
        "calibrate": ("edgekit.cli.calibrate:calibrate", "Observe the calibration set ahead of a build, whole or in shards."),
        "debug": ("edgekit.cli.debug:debug", "Tell where INT8 loses accuracy, why, and what treats it."),
        "deploy": ("edgekit.cli.deploy:deploy", "Make a bundle the current release on a device."),
        "probe": ("edgekit.cli.probe:probe", "Measure a release on a device: latency, accuracy and more."),
        "compare": ("edgekit.cli.compare:compare", "Say whether quantization, the board or its preprocessing costs accuracy."),
        "ci": ("edgekit.cli.ci:ci", "Take a board, build, deploy, probe, judge, and put the board back as it was."),
        "status": ("edgekit.cli.deploy:status", "Show the releases on a device."),
        "rollback": ("edgekit.cli.deploy:rollback", "Make the previous release current again."),
        "inspect": ("edgekit.cli.inspect:inspect", "Show what a bundle holds, verify it, or judge a model before building."),
        "sign": ("edgekit.cli.sign:sign", "Sign a bundle with an SSH key."),
        "targets": ("edgekit.cli.targets:targets", "List the kinds of boards edgekit knows."),
        "device": ("edgekit.cli.device:device", "Look at a device, set it up, say whose releases it takes, take it for a while."),
        "virtual": ("edgekit.cli.virtual:virtual", "Emulate a board on this machine, behind a real SSH server."),
        "report": ("edgekit.cli.report:report", "Show saved reports: as text, one HTML page, Markdown or a picture."),
        "history": ("edgekit.cli.history:history", "Show what edgekit ci has measured here over time."),
        "completion": ("edgekit.cli.completion:completion", "Print the completion script of a shell."),
    },
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "EDGEKIT"},
    epilog=_EPILOG,
)
# A build system may set EDGEKIT_VERSION for its own ends; that must not turn every command into --version.
@click.version_option(__version__, prog_name="edgekit", allow_from_autoenv=False)
def cli() -> None:
    """Take a float model to a proven INT8 model on a real board: build, deploy, probe."""
