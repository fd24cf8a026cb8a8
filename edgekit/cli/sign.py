"""``edgekit sign``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from edgekit.cli.output import Answer, json_option
from edgekit.cli.root import Command
from edgekit.pipeline import sign as pipeline

__all__ = ["sign"]


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--key", type=click.Path(path_type=Path), required=True, metavar="FILE", help="An SSH private key, or the .pub of one in ssh-agent."
)
@click.option("--serial", type=click.IntRange(1), metavar="N", help="The release's place in line [default: seconds since 1970].")
@json_option
def sign(bundle: Path, key: Path, serial: int | None) -> Answer:
    """Sign BUNDLE with an SSH key, in place of any signature it has; its digest stays.

    A board that knows the signer (edgekit device trust) can then refuse what nobody allowed has signed, and a release older
    than one it has run. A passphrase is asked for on the terminal, by ssh-keygen.
    """
    done = pipeline.sign(bundle, key, serial=serial)
    return Answer(
        msgspec.to_builtins({"bundle": str(done.bundle), "app": done.app, "release": done.release, "serial": done.serial, "key": done.key}),
        lambda page: page.line(("signed", "green"), f" {done.app} {done.release[:12]}, serial {done.serial}, with key {done.key}"),
    )
