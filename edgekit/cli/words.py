"""Words that several commands share: the project, the device, and how a shell completes them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from edgekit.device import Device
    from edgekit.project import Project
    from edgekit.target import Target

__all__ = [
    "app_option",
    "bytes_per_second",
    "choose_model",
    "choose_signers",
    "choose_target",
    "complete_to",
    "device_argument",
    "duration",
    "model_option",
    "open_project",
    "project_option",
    "resolve_device",
    "resolve_devices",
    "resume_option",
    "root_option",
    "signers_option",
    "target_option",
]

F = TypeVar("F", bound=Callable[..., Any])


_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> float:
    """Read a time with its unit, ``30s``, ``5m``, ``2h``, ``1d``, as seconds: the ``type`` of an option."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd])", text.strip())
    seconds = float(found[1]) * _UNITS_S[found[2]] if found else 0.0
    if not found or seconds > _UNITS_S["d"] * 7:
        raise click.BadParameter(f"{text!r} is not a time as 30s, 5m, 2h or 1d, up to 7d")
    return seconds


_UNITS_BYTES = {"": 1, "k": 1000, "M": 1_000_000, "G": 1_000_000_000}


def bytes_per_second(text: str) -> int:
    """Read bytes per second, ``500k``, ``2M``, decimal as the progress shows them: the ``type`` of an option."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([kMG]?)", text.strip())
    bytes_s = int(float(found[1]) * _UNITS_BYTES[found[2]]) if found else 0
    if bytes_s < 1000:
        raise click.BadParameter(f"{text!r} is not a rate as 500k or 2M, in bytes per second, from 1k on")
    return bytes_s


def project_option(function: F) -> F:
    """Add ``--project FILE``."""
    text = "The project's file [default: ./edgekit.toml, or pyproject.toml with a tool.edgekit table]."
    return click.option("--project", type=click.Path(path_type=Path), metavar="FILE", help=text)(function)


def device_argument(function: F) -> F:
    """Add the optional ``DEVICE`` argument."""
    return click.argument("device", required=False, shell_complete=_complete_device)(function)


def root_option(function: F) -> F:
    """Add ``--root FOLDER``: edgekit's folder on the device."""
    return click.option("--root", metavar="FOLDER", help="edgekit's folder on the device [default: ~/.edgekit].")(function)


def app_option(function: F) -> F:
    """Add ``--app NAME``."""
    return click.option("--app", metavar="NAME", help="The application [default: the project's, or the only one there].")(function)


def target_option(function: F) -> F:
    """Add ``--target NAME``."""
    return click.option("--target", metavar="NAME", shell_complete=_complete_target, help="The kind of board (edgekit targets list).")(
        function
    )


def model_option(function: F) -> F:
    """Add ``--model PATH``."""
    text = "The float model [default: the project's]."
    return click.option("--model", type=click.Path(path_type=Path), metavar="PATH", help=text)(function)


def signers_option(function: F) -> F:
    """Add ``--allowed-signers FILE``."""
    text = "Whose signatures count [default: the project's, allowed_signers under [deploy]]."
    return click.option("--allowed-signers", type=click.Path(path_type=Path), metavar="FILE", help=text)(function)


def choose_signers(project: Project, folder: Path, path: Path | None) -> Path | None:
    """Find the allowed signers that a command goes by: those named, else the project's, else None."""
    declared = project.deploy.allowed_signers
    return path or (folder / declared if declared else None)


def resume_option(function: F) -> F:
    """Add ``--resume``."""
    return click.option("--resume", is_flag=True, help="Go on where an interrupted call stopped.")(function)


def choose_target(project: Project, name: str | None) -> Target:
    """Find the target that a command is for: the one named, else the project's."""
    from edgekit.errors import UsageError
    from edgekit.target import load_target

    name = name or project.build.target
    if name is None:
        raise UsageError("which target?", fix="--target rpi4, or target = ... under [build]; all: edgekit targets list")
    return load_target(name)


def choose_model(project: Project, folder: Path, path: Path | None) -> Path:
    """Find the float model that a command is for: the one named, else the project's."""
    from edgekit.errors import InputError

    if path is None and project.model.path is None:
        raise InputError("no model", fix='--model PATH, or path = "..." under [model] in edgekit.toml')
    return path or folder / str(project.model.path)


def open_project(path: Path | None) -> tuple[Project, Path]:
    """Read the project a command works on; returns it with the folder its paths start from."""
    from edgekit.project import find_project, load_project, project_folder

    found = path or find_project(Path.cwd())
    return load_project(found), project_folder(found)


def resolve_device(project: Project, word: str | None, root: str | None) -> Device:
    """Find the board a word means."""
    from edgekit.inventory import find_device

    return find_device(project, word, root=root)


def resolve_devices(project: Project, words: Sequence[str], root: str | None) -> tuple[Device, ...]:
    """Find the boards that words mean, groups among them."""
    from edgekit.inventory import find_devices

    return find_devices(project, words, root=root)


def complete_to(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete a group or a device."""
    from edgekit.errors import EdgekitError

    try:
        devices = open_project(None)[0].devices
    except EdgekitError:
        return []
    groups = {group for section in devices.values() for group in section.groups}
    return [name for name in (*sorted(groups), *devices) if name.startswith(incomplete)]


def _complete_target(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from edgekit.target import target_names

    return [name for name in target_names() if name.startswith(incomplete)]


def _complete_device(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from edgekit.errors import EdgekitError
    from edgekit.virtual import boards

    names = ["local"]
    with contextlib.suppress(EdgekitError):
        names += [board.name for board in boards()]
        names += open_project(None)[0].devices
    return [name for name in names if name.startswith(incomplete)]
