"""``edgekit probe``: a command for each probe of the table, its options made from the probe's own."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from edgekit.cli.output import Answer, Page, json_option, progress_bars
from edgekit.cli.reports import print_report
from edgekit.cli.root import Command, Group
from edgekit.cli.words import app_option, device_argument, open_project, project_option, resolve_device, root_option
from edgekit.digest import write_atomic
from edgekit.errors import InputError, UsageError
from edgekit.pipeline.probe import probe as run_probe
from edgekit.pipeline.probe import report_path
from edgekit.pipeline.probes import PROBES, Options, find_probe
from edgekit.report import Report, encode_report, worst

__all__ = ["probe"]

_threads = click.option("--threads", type=click.IntRange(1, 256), help="Threads of the runtime [default: the target's].")
_report = click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Where the report goes [default: build/reports/..].",
)


class _Probes(Group):
    """The probes, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(PROBES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _command(cmd_name) if cmd_name in PROBES else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Probes"):
            formatter.write_dl([(name, summary) for name, (_, summary) in PROBES.items()])


@click.group(cls=_Probes, invoke_without_command=True)
@click.option("--list", "listed", is_flag=True, help="List the probes.")
@json_option
@click.pass_context
def probe(ctx: click.Context, listed: bool) -> Answer | None:
    """Measure a release on a device, and judge what may be concluded."""
    if ctx.invoked_subcommand is not None:
        return None
    if not listed:
        raise click.UsageError("which probe?", ctx)
    rows = [(name, summary) for name, (_, summary) in PROBES.items()]
    return Answer({"probes": [{"name": name, "summary": summary} for name, summary in rows]}, lambda page: page.table(("probe", ""), rows))


def _command(name: str) -> click.Command:
    """Make the command of one probe."""
    options = find_probe(name).options
    fields = {_word(field.name): field.name for field in msgspec.structs.fields(options)}

    def run(
        device: str | None,
        app: str | None,
        threads: int | None,
        report: Path | None,
        project: Path | None,
        root: str | None,
        **given: Any,
    ) -> Answer:
        declared, folder = open_project(project)
        board = resolve_device(declared, device, root)
        _check_place(report.parent if report else _reports(folder))
        with progress_bars() as progress:
            found = run_probe(
                board,
                name,
                project=declared,
                folder=folder,
                app=app or declared.model.name,
                threads=threads,
                options={fields[word]: value for word, value in given.items() if value is not None},
                progress=progress,
            )
        return _keep(found, name, report, folder)

    decorators = [device_argument, app_option, _threads, *_options(options), _report, project_option, root_option, json_option]
    for decorate in reversed(decorators):
        run = decorate(run)
    return click.command(name, cls=Command, help=inspect.getdoc(options))(run)


_UNITS = ("_s", "_ms", "_c", "_hz")
"""Endings that name a unit; an option's flag goes without."""


def _options(options: type[Options]) -> Iterator[Callable[[Any], Any]]:
    """Make a command-line option of each field: what it may be and what it means stand in its ``msgspec.Meta``."""
    for field in msgspec.structs.fields(options):
        kind = msgspec.inspect.type_info(field.type)
        text = ""
        if isinstance(kind, msgspec.inspect.Metadata):
            text, kind = (kind.extra_json_schema or {}).get("description", ""), kind.type
        shown = (
            "" if field.default in (None, False) else f" [default: {field.default:g}]" if isinstance(field.default, (int, float)) else ""
        )
        if field.default and isinstance(field.default, str):
            shown = f" [default: {field.default}]"
        yield click.option(f"--{_word(field.name).replace('_', '-')}", help=text + shown, **_type(kind))


def _word(field: str) -> str:
    """Return what an option is called on the command line, and so in its environment variable."""
    return next((field.removesuffix(unit) for unit in _UNITS if field.endswith(unit)), field)


def _type(kind: msgspec.inspect.Type) -> dict[str, Any]:
    """Return what Click must know of a field's type; a field that may be None has no default of its own."""
    if isinstance(kind, msgspec.inspect.UnionType):
        (kind,) = (one for one in kind.types if not isinstance(one, msgspec.inspect.NoneType))
    if isinstance(kind, msgspec.inspect.BoolType):
        return {"is_flag": True, "default": None}
    if isinstance(kind, msgspec.inspect.IntType):
        return {"type": click.IntRange(kind.ge, kind.le)}
    if isinstance(kind, msgspec.inspect.FloatType):
        least = kind.ge if kind.ge is not None else kind.gt
        return {"type": click.FloatRange(least, kind.le, min_open=kind.ge is None and kind.gt is not None)}
    if isinstance(kind, msgspec.inspect.LiteralType):
        return {"type": click.Choice([str(value) for value in kind.values])}
    if isinstance(kind, msgspec.inspect.StrType):
        return {"metavar": "TEXT"}
    raise UsageError(f"no option can be made of {kind}")


def _reports(folder: Path) -> Path:
    return folder / "build" / "reports"


def _check_place(folder: Path) -> None:
    """Refuse a folder that cannot be written to, or made, before the board measures: afterwards the figures would be lost."""
    try:
        nearest = next(there for there in (folder, *folder.absolute().parents) if there.exists())
        # Only the attempt tells: access rights alone know nothing of a read-only or a virtual file system.
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to: {error.strerror}", fix="name another place with --report") from error


def _keep(report: Report, probe_name: str, path: Path | None, folder: Path) -> Answer:
    saved = path or report_path(folder, report, probe_name)
    write_atomic(saved, encode_report(report))

    def text(page: Page) -> None:
        print_report(page, report)
        page.line(f"report  {saved}")

    # The raw series stay in the file: they would drown the document.
    data = {"report": {**msgspec.to_builtins(report), "samples": {}, "states": []}, "path": str(saved)}
    return Answer(data, text, worst(report))
