"""``edgekit device service``, and what ``edgekit deploy --service`` adds to its command."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click
import msgspec

from edgekit.cli.output import Answer, Page, json_option
from edgekit.cli.root import Command
from edgekit.cli.words import app_option, device_argument, open_project, project_option, resolve_device, root_option
from edgekit.errors import UsageError
from edgekit.pipeline.service import PORT, Served, Services, linger, remove_service, services

__all__ = ["print_served", "service", "service_options"]

F = TypeVar("F", bound=Callable[..., Any])


def service_options(function: F) -> F:
    """Add ``--service`` and ``--port``, which come as ``service_port``: None without the former."""

    @functools.wraps(function)
    def chosen(*args: Any, service: bool, port: int | None, **words: Any) -> Any:
        if port and not service:
            raise UsageError("--port is the service's", fix="edgekit deploy --service --port N")
        return function(*args, service_port=(port or PORT) if service else None, **words)

    where = f"Where it listens, on 127.0.0.1 of the device [default: {PORT}]."
    what = "Serve the model over HTTP there, as a user service of systemd."
    with_port = click.option("--port", type=click.IntRange(1, 65535), metavar="N", help=where)(chosen)
    return cast(F, click.option("--service", is_flag=True, help=what)(with_port))


def print_served(page: Page, served: Served | None) -> None:
    """Say where a deployment's service answers."""
    if served is None:
        return
    page.line(f"its service answers on 127.0.0.1:{served.port} there: POST /predict, GET /health, GET /metrics")
    if served.linger:
        page.line((f"that ends with the last login there, unless: {served.linger}", "yellow"))


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
