"""``edgekit ci``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from edgekit.cli.output import Answer, Page, json_option, progress_bars, say
from edgekit.cli.root import Command
from edgekit.cli.words import (
    choose_signers,
    device_argument,
    duration,
    open_project,
    project_option,
    root_option,
    signers_option,
    target_option,
)
from edgekit.digest import check_folder, write_atomic
from edgekit.errors import InputError
from edgekit.pages.contents import contents
from edgekit.pages.markdown import markdown as report_page
from edgekit.pages.saved import read_saved
from edgekit.pipeline.ci import Wanted
from edgekit.pipeline.ci import ci as run_ci
from edgekit.pipeline.history import record
from edgekit.project import Project
from edgekit.runs.annotation import workflow_commands
from edgekit.runs.junit import junit_xml
from edgekit.runs.run import Run, Step, exit_code, outcome
from edgekit.runs.summary import summary

__all__ = ["ci"]

_COLOURS = {"pass": "green", "fail": "red", "error": "red", "inconclusive": "yellow", "invalid": "yellow", "not run": ""}


@click.command(cls=Command)
@device_argument
@target_option
@click.option("--probe", multiple=True, metavar="NAME", help="A probe to run, again for more [default: the project's].")
@click.option("--bundle", type=click.Path(path_type=Path), metavar="PATH", help="Test this bundle instead of building one.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), metavar="PATH", help="Write JUnit XML there.")
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), metavar="PATH", help="Write a summary as Markdown there.")
@click.option("--lease-wait", type=duration, metavar="TIME", help="How long to wait for a board [default: the project's, else 10m].")
@click.option("--timeout", type=duration, metavar="TIME", help="How long all of it may take [default: the project's, else 2h].")
@click.option("--no-restore", is_flag=True, help="Leave the release under test on the board.")
@signers_option
@project_option
@root_option
@json_option
def ci(
    device: str | None,
    target: str | None,
    probe: tuple[str, ...],
    bundle: Path | None,
    junit: Path | None,
    markdown: Path | None,
    lease_wait: float | None,
    timeout: float | None,
    no_restore: bool,
    allowed_signers: Path | None,
    project: Path | None,
    root: str | None,
) -> Answer:
    """Take a board, build, deploy, probe, judge; put the board back as it was and give it back.

    The board is DEVICE (a name or a group under [devices], user@host, or local), or any of the project's that is a --target, or what [ci]
    names: the first that is free. The release that ran there before runs again in the end, however the run ended.

    Exits with 1 when a gate failed, 8 when nothing could be concluded; what else went wrong has its own code, and the worst one counts.
    """
    declared, folder = open_project(project)
    declared = _overlaid(declared, probes=probe or None, lease_wait_s=lease_wait, timeout_s=timeout)
    wanted = Wanted(device, target, root, bundle, restore=not no_restore)
    for place in filter(None, (junit, markdown)):
        check_folder(place.absolute().parent)
    with progress_bars() as progress:
        signers = choose_signers(declared, folder, allowed_signers)
        run = run_ci(declared, folder, wanted, allowed_signers=signers, tell=_tell, progress=progress)
    code = exit_code(run)
    troubles = [_kept(record, run), junit and _kept(write_atomic, junit, junit_xml(run))]
    troubles.append(markdown and _kept(lambda: write_atomic(markdown, _markdown(run).encode())))
    run = msgspec.structs.replace(run, notes=(*run.notes, *filter(None, troubles)))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        _tell_github(run)
    if any(troubles[1:]):  # what was asked for and is not there is no success
        code = code or InputError.exit_code
    return Answer({"exit_code": code, "run": msgspec.to_builtins(run)}, lambda page: _print(page, run), code)


def _kept(keep: Callable[..., None], *what: Any) -> str | None:
    """Keep what a run has found; what cannot be kept changes no verdict, and is told."""
    try:
        keep(*what)
    except InputError as error:
        return error.message
    return None


def _markdown(run: Run) -> str:
    """Return the run's summary, and below it what each probe has found, as `edgekit report --markdown` shows it."""
    saved = [read_saved(Path(step.report)) for step in run.steps if step.report]
    return summary(run) + (f"\n{report_page(contents(saved))}" if saved else "")


def _tell_github(run: Run) -> None:
    """Write annotations (the runner reads commands on either stream) and the job's summary."""

    def text(page: Page) -> None:
        for line in workflow_commands(run):
            page.line(line)

    say(text)
    if place := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            words = _markdown(run)
            with Path(place).open("a", encoding="utf-8") as file:
                file.write(words)
        except (OSError, InputError) as error:
            why = f"{place}: {error.strerror if isinstance(error, OSError) else error.message}"
            say(lambda page: page.line(("warning:", "yellow"), f" the job's summary cannot be written: {why}"))


def _tell(what: str) -> None:
    say(lambda page: page.line(what))


def _overlaid(project: Project, **options: Any) -> Project:
    """Lay what the command line says of ``[ci]`` over the project's."""
    given = {name: value for name, value in options.items() if value is not None}
    return msgspec.structs.replace(project, ci=msgspec.structs.replace(project.ci, **given))


def _print(page: Page, run: Run) -> None:
    where = f"on {run.device} ({run.address})" if run.device else "on no board"
    page.line((run.app or "no application", "bold"), f" {(run.release or '')[:12]} for {run.target or 'no target'}, {where}")
    for step in run.steps:
        how = outcome(step)
        page.line((f"{how:<12}", _COLOURS[how]), f"  {step.name}, {step.seconds:.1f} s{_story(step)}")
        for verdict in step.verdicts:
            page.line((f"{verdict.outcome:<12}", _COLOURS[verdict.outcome]), f"    {verdict.name}: {verdict.text}")
    for note in run.notes:
        page.line(("note:", "yellow"), f" {note}")


def _story(step: Step) -> str:
    tried = f", after {len(step.retries)} failed attempts" if step.retries else ""
    message = f": {step.message}" if step.message else ""
    fix = f" (fix: {step.fix})" if step.fix else ""
    return f"{tried}{message}{fix}"
