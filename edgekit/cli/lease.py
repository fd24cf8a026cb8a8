"""``edgekit device lease`` and ``edgekit device release``: commands of the group in `edgekit.cli.device`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from edgekit.cli.output import Answer, Page, json_option
from edgekit.cli.root import Command
from edgekit.cli.words import device_argument, duration, open_project, project_option, resolve_device, root_option
from edgekit.devices.lease import Held
from edgekit.errors import UsageError
from edgekit.pipeline import lease as leases

__all__ = ["lease", "release"]


@click.command(cls=Command)
@device_argument
@click.option("--for", type=duration, metavar="TIME", help="How long: 30m, 2h, 1d.")
@click.option("--reason", metavar="TEXT", help="Why, for those who find the device taken.")
@project_option
@root_option
@json_option
def lease(device: str | None, reason: str | None, project: Path | None, root: str | None, **more: float | None) -> Answer:
    """Take DEVICE for a while, so that nobody else deploys to it or measures on it; again, to begin the time anew.

    Your later commands from this machine use the lease by themselves; others end with exit code 9, which names you, the reason
    and the time left. Without --for, show who holds DEVICE.
    """
    declared, _ = open_project(project)
    board, for_s = resolve_device(declared, device, root), more["for"]
    if for_s is None:
        if reason is not None:
            raise UsageError("--reason goes with --for", fix="edgekit device lease DEVICE --for 30m --reason TEXT")
        return _answer(leases.holder(board))
    if not reason or len(reason) > 200 or not reason.isprintable():
        raise UsageError("say why: others will read it", fix="--reason TEXT, of one line and at most 200 characters")
    return _answer(leases.lease(board, for_s=for_s, reason=reason))


@click.command(cls=Command)
@device_argument
@click.option("--force", is_flag=True, help="End somebody else's lease: for a holder who is gone. The device records it.")
@project_option
@root_option
@json_option
def release(device: str | None, force: bool, project: Path | None, root: str | None) -> Answer:
    """Give DEVICE back before the time of your lease is up."""
    declared, _ = open_project(project)
    return _answer(leases.release(resolve_device(declared, device, root), force=force))


def _answer(held: Held) -> Answer:
    data: dict[str, Any] = msgspec.to_builtins(held)
    return Answer(data, lambda page: _print(page, held))


def _print(page: Page, held: Held) -> None:
    if held.lease:
        page.line(f"{held.lease.owner} holds it: {held.lease.reason} (for {held.lease.left_s:.0f} more s)")
    else:
        page.line("nobody holds it")
    if held.forced:
        page.line(
            f"last ended by force: the lease of {held.forced.owner} ({held.forced.reason}), by {held.forced.by} at {held.forced.time}"
        )
