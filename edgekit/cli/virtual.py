"""``edgekit virtual``: boards that this machine emulates."""

from __future__ import annotations

from datetime import datetime, timezone

import click

from edgekit.cli.output import Answer, Page, json_option, progress_bars
from edgekit.cli.root import Group
from edgekit.devices.shell import command
from edgekit.errors import UsageError
from edgekit.pipeline import virtual as pipeline
from edgekit.virtual import TARGETS, VirtualBoard

__all__ = ["virtual"]


@click.group(cls=Group)
def virtual() -> None:
    """Emulate a board on this machine, behind a real SSH server.

    Its programs are the real board's, its INT8 outputs exact; its times say nothing, and every measurement of time is invalid.
    """


@virtual.command("up")
@click.argument("target", shell_complete=lambda _ctx, _param, word: [name for name in TARGETS if name.startswith(word)])
@click.option("--vm", is_flag=True, help="A whole machine, with a kernel of its own: slower, and nearer to a board.")
@json_option
def up(target: str, vm: bool) -> Answer:
    """Bring up the virtual board of TARGET: rpi4, rpi5 or rpi3-armv7.

    The first time its system is made, of Debian's packages: about half a minute. It stays up until `edgekit virtual down`.
    """
    with progress_bars() as progress:
        board, was_up = pipeline.up(target, vm=vm, progress=progress)
    return Answer({"board": _plain(board), "was_up": was_up}, lambda page: _say_up(page, board, was_up))


@virtual.command("down")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", is_flag=True, help="All of them.")
@json_option
def down(names: tuple[str, ...], **more: bool) -> Answer:
    """Take virtual boards down, by name: nothing of them is left."""
    if bool(names) == more["all"]:
        raise UsageError("which board?", fix="edgekit virtual down NAME, or --all")
    ended = pipeline.down(names or None)
    return Answer({"down": ended}, lambda page: page.line(f"down: {', '.join(ended) or 'there was none'}"))


@virtual.command("list")
@json_option
def list_boards() -> Answer:
    """List the virtual boards of this user."""
    found = pipeline.boards()
    rows = [
        (board.name, board.target, f"127.0.0.1:{board.port}", str(board.process.pid), _time(board.since), _state(board)) for board in found
    ]
    columns = ("name", "target", "address", "pid", "since", "state")
    return Answer({"boards": [_plain(board) for board in found]}, lambda page: page.table(columns, rows))


def _say_up(page: Page, board: VirtualBoard, was_up: bool) -> None:
    page.line(f"{board.name} {'is up already' if was_up else 'is up'}: 127.0.0.1:{board.port}, process {board.process.pid}")
    page.line(f"  edgekit device setup {board.name}")
    page.line(f"  edgekit deploy {board.name}")
    page.line(f"  edgekit probe accuracy {board.name}")
    page.line(f"  {command(['ssh', '-F', str(board.ssh_config), board.name])}")
    page.line(f"  edgekit virtual down {board.name}")


def _plain(board: VirtualBoard) -> dict[str, object]:
    return {
        "name": board.name,
        "target": board.target,
        "address": f"127.0.0.1:{board.port}",
        "pid": board.process.pid,
        "since": board.since,
        "state": _state(board),
        "folder": str(board.folder),
        "ssh_config": str(board.ssh_config),
    }


def _state(board: VirtualBoard) -> str:
    return "up" if board.process.runs else "ended"


def _time(since: float) -> str:
    return datetime.fromtimestamp(since, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
