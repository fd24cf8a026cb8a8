"""``edgekit device``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
import msgspec

from edgekit.cli.lease import lease, release
from edgekit.cli.output import Answer, Page, json_option, megabytes, progress_bars
from edgekit.cli.root import Group
from edgekit.cli.service import service
from edgekit.cli.words import device_argument, open_project, project_option, resolve_device, root_option, target_option
from edgekit.device import Facts, JetsonFact
from edgekit.devices.provision import Provision
from edgekit.pipeline.provision import device_facts, plan_set_up, set_up
from edgekit.pipeline.trust import DeviceTrust, device_trust
from edgekit.target import load_target

__all__ = ["device"]


@click.group(cls=Group)
def device() -> None:
    """Look at a device, set it up, say whose releases it takes, see to its services, take it for a while."""


device.add_command(lease)
device.add_command(release)
device.add_command(service)


@device.command()
@device_argument
@project_option
@root_option
@json_option
def facts(device: str | None, project: Path | None, root: str | None) -> Answer:
    """Show what DEVICE is: machine, system, Python, runtimes, room, sensors."""
    declared, _ = open_project(project)
    return _answer(device_facts(resolve_device(declared, device, root)))


@device.command()
@device_argument
@project_option
@root_option
@target_option
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and change nothing.")
@json_option
def setup(device: str | None, project: Path | None, root: str | None, target: str | None, dry_run: bool) -> Answer:
    """Give DEVICE the runtime that fits it, through this machine: it needs no internet and no pip.

    Which kind of runtime says the target: --target, else the project's for this device, else TFLite's.
    All applications on the device share it; one that nothing uses any more is removed.
    """
    declared, _ = open_project(project)
    kind = load_target(target) if target else None
    board = resolve_device(declared, device, root)
    with progress_bars() as progress:
        if not dry_run:
            return _answer(set_up(board, kind, progress))
        planned = plan_set_up(board, kind, progress)
        return Answer({"dry_run": True, "plan": planned and asdict(planned)}, lambda page: _print_plan(page, planned))


def _print_plan(page: Page, planned: Provision | None) -> None:
    if planned is None:
        page.line("its runtime comes with its system, and is there")
    elif planned.there:
        page.line(f"{planned.runtime} is there and runs; nothing would be sent")
    else:
        page.pairs([("runtime", planned.runtime), *(("wheel", f"{wheel.name}, {megabytes(wheel.bytes)}") for wheel in planned.wheels)])
        page.line(
            f"would send {megabytes(planned.bytes_to_send)} of {megabytes(sum(wheel.bytes for wheel in planned.wheels))}; "
            f"needs {megabytes(planned.need_bytes)} of room, {megabytes(planned.free_bytes)} are free; nothing was changed"
        )


@device.command()
@device_argument
@click.option(
    "--allowed-signers", type=click.Path(path_type=Path), metavar="FILE", help="Replace the device's list of whose signatures count."
)
@click.option("--require-signature/--no-require-signature", default=None, help="Whether it refuses unsigned releases.")
@project_option
@root_option
@json_option
def trust(
    device: str | None, allowed_signers: Path | None, require_signature: bool | None, project: Path | None, root: str | None
) -> Answer:
    """Say whose signed releases DEVICE takes, and whether it takes unsigned ones; without options, show what is in force.

    The file is one of ssh-keygen's allowed signers: a name and a public key a line. Who has the login that edgekit uses can
    change this as well: it guards against a changed bundle, not against a stolen login.
    """
    declared, _ = open_project(project)
    found = device_trust(resolve_device(declared, device, root), allowed_signers=allowed_signers, require_signature=require_signature)
    return Answer(msgspec.to_builtins(found), lambda page: _print_trust(page, found))


def _print_trust(page: Page, found: DeviceTrust) -> None:
    policy = "refused" if found.require_signature else "taken"
    page.pairs([("unsigned releases", policy), ("verifies with", found.ssh_keygen or "nothing: there is no ssh-keygen")])
    if found.allowed_signers:
        page.table(("allowed signer", "kind", "key"), [(one.names, one.kind, one.key) for one in found.allowed_signers])
    else:
        page.line("no allowed signers: nobody is vouched for")


def _answer(facts: Facts) -> Answer:
    return Answer({"facts": msgspec.to_builtins(facts)}, lambda page: _print(page, facts))


def _print(page: Page, facts: Facts) -> None:
    rows = [
        ("board", facts.board or "unknown"),
        *_jetson(facts.jetson),
        ("machine", f"{facts.machine}, {facts.cores} cores, {facts.cpu or 'cpu unknown'}"),
        ("system", f"{facts.system}, {facts.kernel}, glibc {facts.glibc or 'none'}"),
        ("python", f"{facts.python} ({facts.python_path})"),
        ("numpy", facts.numpy or "none"),
        *_gpu(facts),
        *(
            ("runtime", f"{r.name} {r.version}" + (f", private ({r.lock})" if r.lock else "") + (f": {r.error}" if r.error else ""))
            for r in facts.runtimes
        ),
        ("memory", f"{megabytes(facts.memory_available_bytes)} of {megabytes(facts.memory_total_bytes)} available"),
        ("disk", f"{megabytes(facts.disk_free_bytes)} free"),
        *(("sensor", f"{s.name} {s.value:g} {s.unit}") for s in facts.sensors),
    ]
    if not facts.runtimes:
        rows.append(("runtime", "none: edgekit device setup"))
    if facts.simulated:
        rows.append(("simulated", "yes: its times say nothing about a board"))
    page.pairs(rows)


def _jetson(jetson: JetsonFact | None) -> list[tuple[str, str]]:
    if jetson is None:
        return []
    release = f"JetPack {jetson.jetpack or 'unknown'} (Jetson Linux {jetson.l4t or 'unknown'})"
    return [("jetson", f"{jetson.module or 'module unknown'}, {release}, power mode {jetson.power_mode or 'unknown'}")]


def _gpu(facts: Facts) -> list[tuple[str, str]]:
    if gpu := facts.gpu:
        cuda = f"CUDA up to {gpu.cuda}" if gpu.cuda else "CUDA unknown"
        return [("gpu", f"{gpu.name}, compute capability {gpu.compute_capability}, {cuda}, {megabytes(gpu.memory_total_bytes)}")]
    return [("gpu", f"none: {facts.gpu_error}")] if facts.gpu_error else []
