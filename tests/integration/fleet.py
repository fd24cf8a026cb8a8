"""Roll-outs seen from outside: the host as a process that can be killed at a known point, and what the boards' own journals say."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from edgekit.bundle import list_files, open_bundle, write_bundle

__all__ = ["activations", "kill_after", "project_of", "spoilt"]


def project_of(folder: Path, boards: dict[str, tuple[str, str]], *, python: str = sys.executable, sites: Sequence[str] = ()) -> Path:
    """Write a project whose devices (name -> address and root) are all in the group ``rack``."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (name, (address, root)) in enumerate(boards.items()):
        lines += [f"[devices.{name}]", f'address = "{address}"', f'root = "{root}"', f'python = "{python}"', 'groups = ["rack"]']
        lines += [f'site = "{sites[number % len(sites)]}"'] if sites else []
    (folder / "edgekit.toml").write_text("\n".join(lines) + "\n")
    return folder


def spoilt(source: Path, folder: Path) -> Path:
    """Return a copy of a bundle whose golden answers are not its model's: whole, and wrong on every board."""
    with open_bundle(source) as bundle:
        files = {entry.path: (bundle.folder / entry.path).read_bytes() for entry in bundle.manifest.files}
        golden = bundle.manifest.golden
        for path in {golden.outputs, golden.builtin_outputs}:
            with np.load(io.BytesIO(files[path])) as arrays:
                wrong = {name: array[..., ::-1] for name, array in arrays.items()}
            file = io.BytesIO()
            np.savez(file, **wrong)
            files[path] = file.getvalue()
        return write_bundle(msgspec.structs.replace(bundle.manifest, files=list_files(files)), files, folder)


def kill_after(boards: int, *words: str, cwd: Path) -> list[str]:
    """Run ``edgekit deploy WORDS`` and SIGKILL it once so many boards are done; returns what it had said."""
    command = [sys.executable, "-m", "edgekit", "deploy", *words]
    said = []
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as host:
        assert host.stderr is not None
        for line in host.stderr:
            said.append(line)
            if line.startswith(f"[{boards}/"):
                break
        host.kill()
    assert any(line.startswith(f"[{boards}/") for line in said), said
    return said


def activations(root: Path, release: str) -> int:
    """Count how often a board has made a release current, from its own journals."""
    found = 0
    for journal in (root / "apps").glob("*/journal"):
        entries = [json.loads(line) for line in journal.read_bytes().split(b"\n") if line.strip()]
        found += sum(entry["event"] == "activated" and entry["release"] == release for entry in entries)
    return found
