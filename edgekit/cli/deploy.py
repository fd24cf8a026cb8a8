"""``edgekit deploy``, ``edgekit status`` and ``edgekit rollback``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from edgekit.bundle import bundle_files, open_bundle
from edgekit.cli.output import Answer, Page, json_option, megabytes, progress_bars, say
from edgekit.cli.rollout import plan_of, roll_out, rollout_options
from edgekit.cli.root import Command
from edgekit.cli.service import print_served, service_options
from edgekit.cli.words import (
    app_option,
    bytes_per_second,
    choose_signers,
    device_argument,
    open_project,
    project_option,
    resolve_device,
    resolve_devices,
    root_option,
    signers_option,
)
from edgekit.device import Device
from edgekit.devices.shell import command
from edgekit.errors import InputError, UsageError
from edgekit.pipeline import deploy as pipeline
from edgekit.pipeline import releases
from edgekit.pipeline.deploy import Deployed
from edgekit.pipeline.probation import forget
from edgekit.project import Project
from edgekit.target import same_kind

__all__ = ["deploy", "rollback", "status"]


@click.command(cls=Command)
@device_argument
@click.option("--bundle", type=click.Path(path_type=Path), metavar="PATH", help="The bundle [default: the newest in build that fits].")
@click.option("--stand-in", is_flag=True, help="Accept a machine of another kind; all its figures are marked simulated.")
@click.option("--keep", type=click.IntRange(2, 1000), metavar="N", help="Releases to keep on the device [default: the project's, else 3].")
@click.option("--rate", type=bytes_per_second, metavar="RATE", help="Send at most so many bytes per second: 500k, 2M.")
@service_options
@click.option("--dry-run", is_flag=True, help="Check the device and say what would be sent.")
@rollout_options
@signers_option
@project_option
@root_option
@json_option
def deploy(
    device: str | None,
    bundle: Path | None,
    stand_in: bool,
    keep: int | None,
    rate: int | None,
    service_port: int | None,
    dry_run: bool,
    allowed_signers: Path | None,
    project: Path | None,
    root: str | None,
    **fleet: Any,
) -> Answer:
    """Make a bundle the current release on DEVICE: a name under [devices], user@host, or local.

    Without --bundle it is the newest one in build that has the project's name and is for the
    device's target, as far as these are declared.

    A TensorRT bundle without an engine has it built on the device first; a lost link does not end that.

    With --to, many boards get it: first the canaries, then batches, until more fail than --max-failures
    allows. A roll-out that was interrupted, or whose host died, goes on with --resume.

    Only what the device lacks is sent. The golden samples run there before one atomic rename makes
    the release current. There it proves itself: golden samples again, then the latency ceiling and the
    hooks of the bundle. If it does not in time, or you are gone, the device goes back by itself.

    With --service the device serves the model over HTTP to programs there, from this release on.
    """
    plan = plan_of(fleet)
    if fleet["to"] and (device or dry_run):
        raise UsageError("--to names the boards, and a roll-out has no --dry-run", fix="edgekit deploy --to GROUP")
    declared, folder = open_project(project)
    boards = resolve_devices(declared, fleet["to"], root) or (resolve_device(declared, device, root),)
    terms = msgspec.structs.replace(declared.deploy, keep=keep or declared.deploy.keep)
    path = bundle or _newest(folder / "build", declared, *boards)
    if bundle is None:
        say(lambda page: page.line(f"the newest bundle that fits is {path}"))
    signers = choose_signers(declared, folder, allowed_signers)
    options: dict[str, Any] = {
        "terms": terms,
        "folder": folder,
        "stand_in": stand_in,
        "service_port": service_port,
        "allowed_signers": signers,
        "rate_bytes_s": rate,
    }
    if fleet["to"]:
        with open_bundle(path) as opened:
            return roll_out(opened, boards, options, plan, fleet, again=_again(path))
    (board,) = boards
    with open_bundle(path) as opened, progress_bars() as progress:
        done = pipeline.deploy(opened, board, **options, dry_run=dry_run, progress=progress)
    if not dry_run:
        forget(board, done.app)  # should edgekit ci have been killed while it tried this very release: now it is wanted
    data = {**msgspec.to_builtins(done), "bundle": str(path), "dry_run": dry_run}
    return Answer(data, lambda page: _print(page, done, dry_run))


def _again(path: Path) -> str:
    """Return the command that goes on with this roll-out, whatever bundle is the newest by then."""
    words = [word for word in sys.argv[1:] if word != "--resume"]
    named = any(word.partition("=")[0] == "--bundle" for word in words)
    return command(["edgekit", *words, *([] if named else ["--bundle", str(path)]), "--resume"])


def _newest(folder: Path, project: Project, *devices: Device) -> Path:
    """Choose the newest bundle that has the project's name and is for the devices' kind of board."""
    targets = sorted({device.target for device in devices if device.target})
    others = []
    for path in bundle_files(folder):
        with open_bundle(path) as bundle:
            name, target = bundle.manifest.name, bundle.manifest.target
        if project.model.name in (None, name) and all(same_kind(kind, target) for kind in targets):
            return path
        others.append(f"{path.name} ({name} for {target})")
    kinds = f"for {' and '.join(targets)}" if targets else None
    wanted = " ".join(filter(None, ("bundle", project.model.name and f"of {project.model.name}", kinds)))
    raise InputError(
        f"{folder}: no {wanted} in it" + (f"; there are: {', '.join(others)}" if others else ""),
        fix=f"edgekit build --target {targets[0] if len(targets) == 1 else 'NAME'}, or name one with --bundle",
    )


def _print(page: Page, done: Deployed, dry_run: bool) -> None:
    share = f"{megabytes(done.bytes_sent)} of {megabytes(done.bytes_total)}"
    if dry_run:
        page.line(f"{done.device}: would send {share}; nothing was changed")
        return
    golden = f"golden check {done.golden['count']} samples, largest difference {done.golden['max_diff']:g} steps"
    page.line(("deployed", "green"), f" {done.app} {done.release[:12]} to {done.device}: sent {share}; {golden}")
    if done.serial is not None:
        page.line(f"signed by {done.signer or 'a key that the device does not know'}, serial {done.serial}")
    if done.engine:
        how = "was there" if done.engine.cached else f"was built there in {done.engine.seconds:.0f} s by {done.engine.builder}"
        page.line(f"its engine {done.engine.engine[:12]} {how}")
    if done.latency_p99_ms is not None:
        page.line(f"99 of 100 runs take up to {done.latency_p99_ms:.3g} ms")
    if done.pruned:
        page.line(f"removed {len(done.pruned)} older releases")
    if done.previous and done.previous != done.release:
        page.line(f"previous release {done.previous[:12]}; go back with: edgekit rollback")
    print_served(page, done.service)
    if done.stand_in:
        page.line(("this device is not the board the bundle was built for: every figure from it is marked simulated", "yellow"))


@click.command(cls=Command)
@device_argument
@project_option
@root_option
@json_option
def status(device: str | None, project: Path | None, root: str | None) -> Answer:
    """Show the applications on DEVICE, the release each one runs, whether it is whole, and how its deployment stands."""
    declared, _ = open_project(project)
    data: dict[str, Any] = msgspec.to_builtins(releases.status(resolve_device(declared, device, root)))
    return Answer(data, lambda page: _print_status(page, data))


def _print_status(page: Page, answer: dict[str, Any]) -> None:
    if not answer["apps"]:
        page.line("nothing is deployed there")
    rows = [
        (
            app["name"],
            (app["current"] or "none")[:12],
            (app["previous"] or "none")[:12],
            app["state"] if app["whole"] or not app["current"] else f"{app['state']}, DAMAGED",
            _signed(app),
            str(app["since"] or ""),
            megabytes(app["bytes"]),
        )
        for app in answer["apps"]
    ]
    if rows:
        page.table(("application", "current", "previous", "state", "signed", "since", "size"), rows)
    for app in answer["apps"]:
        refused = app["untrusted"] and f"the device would not take its release again: {app['untrusted']}"
        for text in (app["why"] and f"{app['state']} by {app['by']}: {app['why']}", app["next"], refused):
            if text:
                page.line((f"{app['name']}: {text}", "yellow"))
    page.line(f"{megabytes(answer['free_bytes'])} free")


def _signed(app: dict[str, Any]) -> str:
    if app["serial"] is None:
        return "no"
    return f"by {app['signer'] or 'nobody known there'}, {app['serial']}"


@click.command(cls=Command)
@device_argument
@app_option
@project_option
@root_option
@json_option
def rollback(device: str | None, app: str | None, project: Path | None, root: str | None) -> Answer:
    """Make the previous release on DEVICE current again, once it has been found whole.

    A deployment that is not proven yet is taken back at once.
    """
    declared, _ = open_project(project)
    board = resolve_device(declared, device, root)
    name = app or declared.model.name
    if name is None:
        names = [found.name for found in releases.status(board).apps]
        if len(names) != 1:
            raise UsageError("which application?", fix=f"name it with --app; there are: {', '.join(names) or 'none'}")
        name = names[0]
    answer = releases.rollback(board, name)
    now = f"current is {answer.release[:12]} again" if answer.release else "nothing is current, as before"
    return Answer({"app": name, **msgspec.to_builtins(answer)}, lambda page: page.line(f"{name}: {now}"))
