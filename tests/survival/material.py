"""Bundles to deploy and to break: all made of one build of the demo, so that one more costs a millisecond."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgekit.bundle import list_files, open_bundle, write_bundle
from edgekit.device import Device
from edgekit.health import Health, Hook
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.deploy import deploy
from edgekit.project import DeploySection

__all__ = ["KINDS", "Sample", "make", "put", "varied"]

KINDS = ("plain", "large", "many", "hooks", "wrong-golden", "bad-health")
"""What a bundle is like; the last two must never stay current."""
BAD = KINDS[-2:]
_LARGE_BYTES, _MANY = 3 << 20, 40
_WELL, _ILL = "#!/bin/sh\ntest -s model.tflite\n", "#!/bin/sh\nexit 1\n"


@dataclass(frozen=True)
class Sample:
    """A bundle in its project's folder; ``good`` when a board should take it."""

    kind: str
    path: Path
    digest: str
    app: str

    @property
    def good(self) -> bool:
        return self.kind not in BAD


def make(built: Path, kind: str, number: int, folder: Path) -> Sample:
    """Write a bundle of a kind; each number gives one of its own.

    Parameters
    ----------
    built
        The bundle of the demo for this machine.
    """
    with open_bundle(built) as bundle:
        files = {entry.path: bundle.read(entry.path) for entry in bundle.manifest.files}
        manifest = bundle.manifest
    draw = random.Random(f"{kind} {number}")
    files["weights/own.bin"] = draw.randbytes(2000)
    if kind == "large":
        files["weights/large.bin"] = draw.randbytes(_LARGE_BYTES)
    if kind == "many":
        files.update({f"parts/{index}.bin": draw.randbytes(index * 97) for index in range(_MANY)})
    if kind == "wrong-golden":
        for path in (manifest.golden.outputs, manifest.golden.builtin_outputs):
            files[path] = files[manifest.golden.samples]
    place = folder / f"{kind}-{number}"
    place.mkdir()
    health = Health()
    if kind in ("hooks", "bad-health"):
        files["hooks/check.sh"] = (_WELL if kind == "hooks" else _ILL).encode()
        (place / "check.sh").write_bytes(files["hooks/check.sh"])
        health = Health(restart=Hook(("true",)), check=Hook(("./check.sh",)))
    changed = msgspec.structs.replace(manifest, files=list_files(files), health=health)
    written = write_bundle(changed, files, place)
    with open_bundle(written) as bundle:
        return Sample(kind, written, bundle.digest, manifest.name)


def varied(built: Path, folder: Path, seed: int) -> list[Sample]:
    """Return two bundles of each kind."""
    return [make(built, kind, seed * 2 + number, folder) for kind in KINDS for number in (0, 1)]


def put(sample: Sample, device: Device, *, deadline_s: float = 600.0, keep: int = 2, progress: Progress = silent) -> None:
    """Deploy a bundle as the project that it is of would.

    Raises
    ------
    EdgekitError
        As `edgekit.pipeline.deploy.deploy` does.
    """
    with open_bundle(sample.path) as bundle:
        health = bundle.manifest.health
        restart = health.restart.command if health.restart else None
        check = health.check.command if health.check else None
        terms = DeploySection(restart=restart, health=check, deadline_s=deadline_s, keep=keep)
        deploy(bundle, device, terms=terms, folder=sample.path.parent, stand_in=True, progress=progress)
