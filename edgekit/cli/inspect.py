"""``edgekit inspect``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from edgekit.bundle import Bundle, damage, open_bundle
from edgekit.cli.output import Answer, Page, json_option, megabytes
from edgekit.cli.root import Command
from edgekit.errors import InputError

__all__ = ["inspect"]


@click.command(cls=Command)
@click.argument("path", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Check every byte against the manifest.")
@json_option
def inspect(path: Path, verify: bool) -> Answer:
    """Show what a bundle holds; with --verify, check every byte of it."""
    with open_bundle(path) as bundle:
        if verify and (broken := damage(bundle)):
            raise InputError(f"{path}: damaged: {'; '.join(broken)}", fix="build or copy the bundle again")
        data = {"digest": bundle.digest, "manifest": msgspec.to_builtins(bundle.manifest), "verified": verify}
        return Answer(data, lambda page: _print(page, bundle, verify))


def _print(page: Page, bundle: Bundle, verified: bool) -> None:
    manifest, origin = bundle.manifest, bundle.manifest.origin
    rows = [
        ("digest", bundle.digest),
        ("target", f"{manifest.target} ({manifest.runtime}, {' or '.join(manifest.requires.machines)})"),
        *(("input", f"{s.name} {s.dtype} {list(s.shape)} {manifest.layouts.get(s.name, '')}".rstrip()) for s in manifest.inputs),
        *(("output", f"{s.name} {s.dtype} {list(s.shape)}") for s in manifest.outputs),
        ("preprocess", ", ".join(f"{key} {value}" for key, value in manifest.preprocess.items())),
        ("calibration", f"{origin.calibration_samples} samples, {origin.calibration_method}"),
        ("budget", ", ".join(f"{k} {v}" for k, v in msgspec.structs.asdict(manifest.budget).items() if v is not None) or "none"),
        ("made with", ", ".join(f"{tool} {version}" for tool, version in sorted(origin.tools.items()))),
        *(("tainted", taint) for taint in manifest.taints),
    ]
    page.line((manifest.name, "bold"))
    page.pairs(rows)
    page.line()
    page.table(("file", "size", "sha256"), [(e.path, megabytes(e.bytes), e.sha256[:12]) for e in manifest.files])
    if verified:
        page.line(("verified:", "green"), " every byte is as the manifest says")
