"""``edgekit inspect``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec

from edgekit.bundle import Bundle, damage, open_bundle
from edgekit.cli.output import Answer, Page, json_option, megabytes
from edgekit.cli.root import Command
from edgekit.cli.words import choose_signers, open_project, project_option, signers_option, target_option
from edgekit.errors import InputError, UsageError
from edgekit.manifest import Manifest
from edgekit.operations import Operation
from edgekit.pipeline.trust import Signer, signer
from edgekit.target import load_target

__all__ = ["inspect"]


@click.command(cls=Command)
@click.argument("path", metavar="BUNDLE|MODEL", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Check every byte of a bundle against its manifest.")
@click.option("--ops", is_flag=True, help="Tell what becomes of each node of a float model on a target.")
@target_option
@signers_option
@project_option
@json_option
def inspect(path: Path, verify: bool, ops: bool, target: str | None, allowed_signers: Path | None, project: Path | None) -> Answer:
    """Show what a bundle holds; with --verify, check every byte of it, and its signature.

    With --ops, tell before building which nodes of a float MODEL a target computes in int8, in float32 or as whole
    numbers, and which not at all; exits with 1 when there are such.
    """
    if ops:
        if verify:
            raise UsageError("--verify is about a bundle, --ops about a float model", fix="one of the two")
        return _operations(path, target, project)
    if target:
        raise UsageError("--target goes with --ops", fix=f"edgekit inspect --ops {path} --target NAME")
    if (project or allowed_signers) and not verify:
        raise UsageError("--project and --allowed-signers go with --verify or --ops", fix=f"edgekit inspect --verify {path}")
    with open_bundle(path) as bundle:
        signature = None
        if verify:
            if broken := damage(bundle):
                raise InputError(f"{path}: damaged: {'; '.join(broken)}", fix="build or copy the bundle again")
            signature = signer(bundle, choose_signers(*open_project(project), allowed_signers))
        data = {
            "digest": bundle.digest,
            "manifest": msgspec.to_builtins(bundle.manifest),
            "verified": verify,
            "serial": bundle.signed and bundle.signed.serial,
            "signature": msgspec.to_builtins(signature),
        }
        return Answer(data, lambda page: _print(page, bundle, verify, signature))


def _operations(path: Path, target: str | None, project: Path | None) -> Answer:
    from edgekit.pipeline.operators import operations

    declared, _ = open_project(project)
    name = target or declared.build.target
    if name is None:
        raise UsageError("for which target?", fix="--target rpi4, or target = ... under [build]; all: edgekit targets list")
    if path.suffix == ".edge" or path.is_dir():
        raise InputError(
            f"{path}: --ops is about a float model, before it is built", fix=f"edgekit debug {path} tells what is inside a bundle"
        )
    found = operations(declared, load_target(name), model_path=path)
    totals = _totals(found)
    data = {"target": name, "operations": [msgspec.to_builtins(one) for one in found], "totals": totals}
    return Answer(data, lambda page: _print_operations(page, found, totals), int("unsupported" in totals))


def _totals(found: Sequence[Operation]) -> dict[str, dict[str, int]]:
    """Count nodes and multiply-accumulates by what is made of them."""
    nodes, costs = Counter(map(_made, found)), Counter[str]()
    for one in found:
        costs[_made(one)] += one.macs
    return {made: {"nodes": nodes[made], "macs": costs[made]} for made in ("int8", "float32", "integer", "unsupported") if nodes[made]}


def _made(operation: Operation) -> str:
    return operation.precision or "unsupported"


def _print_operations(page: Page, found: Sequence[Operation], totals: dict[str, dict[str, int]]) -> None:
    rows = [(one.name, one.op, _made(one), f"{one.macs / 1e6:.3g}" if one.macs else "", one.why) for one in found]
    page.table(("node", "operator", "becomes", "million MACs", "why"), rows)
    whole = sum(one.macs for one in found)
    for made, total in totals.items():
        share = f", {total['macs'] / whole:.1%} of {whole / 1e6:.3g} million multiply-accumulates" if whole else ""
        page.line((made, "red" if made == "unsupported" else "bold"), f"  {total['nodes']} nodes{share}")
    for fix in dict.fromkeys(one.fix for one in found if one.precision is None and one.fix):
        page.line(("fix:", "bold green"), f" {fix}")


def _engine(manifest: Manifest) -> Iterator[str]:
    """Say how the board comes by its TensorRT engine, and what it must be; nothing where the runtime needs none."""
    if manifest.engine:
        key = manifest.engine.key
        system = "".join(f", {name} {value}" for name, value in (("L4T", key.l4t), ("CUDA", key.cuda)) if value)
        board = f"{key.board} (compute capability {key.compute_capability}{system})"
        yield f"{key.precision}, for TensorRT {key.tensorrt} on {board} and no other"
    elif manifest.recipe:
        yield f"{manifest.recipe.precision}, to be built on the board by the first deployment"


def _signature(bundle: Bundle, verified: bool, found: Signer | None) -> str:
    if bundle.signed is None:
        return "none"
    if found is None or not verified:
        return f"serial {bundle.signed.serial}, not verified here: --verify"
    who = found.name or "a key that nobody vouches for (--allowed-signers FILE)"
    return f"by {who}, serial {found.serial}, key {found.key}"


def _print(page: Page, bundle: Bundle, verified: bool, signature: Signer | None) -> None:
    manifest, origin = bundle.manifest, bundle.manifest.origin
    rows = [
        ("digest", bundle.digest),
        ("target", f"{manifest.target} ({manifest.runtime}, {' or '.join(manifest.requires.machines)})"),
        *(("input", f"{s.name} {s.dtype} {list(s.shape)} {manifest.layouts.get(s.name, '')}".rstrip()) for s in manifest.inputs),
        *(("output", f"{s.name} {s.dtype} {list(s.shape)}") for s in manifest.outputs),
        ("preprocess", ", ".join(f"{key} {value}" for key, value in manifest.preprocess.items())),
        ("calibration", f"{origin.calibration_samples} samples, {origin.calibration_method}"),
        *(("engine", words) for words in _engine(manifest)),
        ("budget", ", ".join(f"{k} {v}" for k, v in msgspec.structs.asdict(manifest.budget).items() if v is not None) or "none"),
        ("made with", ", ".join(f"{tool} {version}" for tool, version in sorted(origin.tools.items()))),
        ("signature", _signature(bundle, verified, signature)),
        *(("tainted", taint) for taint in manifest.taints),
    ]
    page.line((manifest.name, "bold"))
    page.pairs(rows)
    page.line()
    page.table(("file", "size", "sha256"), [(e.path, megabytes(e.bytes), e.sha256[:12]) for e in manifest.files])
    if verified:
        page.line(("verified:", "green"), " every byte is as the manifest says")
