"""``edgekit device service``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from edgekit.cli.output import Answer, Page, json_option
from edgekit.cli.root import Command
from edgekit.cli.words import app_option, device_argument, open_project, project_option, resolve_device, root_option
from edgekit.errors import UsageError
from edgekit.pipeline.service import Services, linger, remove_service, services

__all__ = ["service"]


@click.command(cls=Command)
@device_argument
@app_option
@click.option("--remove", is_flag=True, help="Stop the application's service and take its unit away.")
@project_option
@root_option
@json_option
def service(device: str | None, app: str | None, remove: bool, project: Path | None, root: str | None) -> Answer:
    """Show the services that ``edgekit deploy --service`` installed on DEVICE, or remove one."""
    declared, _ = open_project(project)
    board = resolve_device(declared, device, root)
    if not remove:
        found = services(board)
        return Answer(msgspec.to_builtins(found), lambda page: _print_services(page, found))
    name = app or declared.model.name
    if name is None:
        raise UsageError("which application's?", fix="name it with --app; there are: edgekit device service")
    removed = remove_service(board, name)
    text = f"{name}: its service is gone" if removed else f"{name}: there was no service"
    return Answer({"app": name, "removed": removed}, lambda page: page.line(text))


def _print_services(page: Page, found: Services) -> None:
    if not found.services:
        page.line("no service there: edgekit deploy --service")
        return
    rows = [
        (
            one.app,
            f"127.0.0.1:{one.port}",
            (one.release or "none")[:12],
            "healthy" if one.healthy else f"FAILING: {one.error or 'no answer'}",
        )
        for one in found.services
    ]
    page.table(("application", "address there", "release", "state"), rows)
    if not found.linger:
        page.line((f"they end with the last login of {found.user}; on the board: {linger(found.user)}", "yellow"))
