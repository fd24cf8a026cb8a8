"""The agent as it travels (one zip), run by this interpreter and by Python 3.8, and bundles to give it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from edgekit.ondevice import disk, journal, store, wire
from edgekit.ondevice.chunks import MARK_BYTES, Chunk, pack

PACKAGE = Path(store.__file__).parents[1]
Answer = Tuple[int, List[Dict[str, Any]]]


def _python_38() -> str | None:
    """A shim of pyenv may stand on the path and find nothing: only what answers counts."""
    installed = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for python in [shutil.which("python3.8"), *map(str, sorted(installed.glob("3.8.*/bin/python")))]:
        if python and subprocess.run([python, "-V"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
            return python
    return None


PYTHON_38 = _python_38()


class Agent:
    """Runs jobs in processes of their own, all on one root."""

    def __init__(self, python: str, archive: Path, root: Path) -> None:
        self.command = [python, str(archive)]
        self.root = root

    def run(self, job: str, **fields: Any) -> Answer:
        return self.send(wire.encode_job(job, str(self.root), fields))

    def send(self, line: bytes) -> Answer:
        done = subprocess.run(self.command, input=line, stdout=subprocess.PIPE, timeout=120)
        return done.returncode, [wire.decode_event(answer) for answer in done.stdout.splitlines()]

    def ask(self, job: str, **fields: Any) -> dict[str, Any]:
        code, events = self.run(job, **fields)
        assert (code, events[-1]["event"]) == (0, "result"), events[-1]
        data: dict[str, Any] = events[-1]["data"]
        return data

    def refuse(self, job: str, **fields: Any) -> dict[str, Any]:
        code, events = self.run(job, **fields)
        assert (code, events[-1]["event"]) == (1, "error"), events[-1]
        return events[-1]

    def push(self, data: bytes) -> str:
        entry = listed(data)
        answer = self.ask("transfer.offer", blobs=[entry])
        if answer["missing"]:
            line = wire.encode_job("transfer.take", str(self.root), {"blobs": [{**entry, "needed": answer["missing"][0]["needed"]}]})
            code, events = self.send(line + (frame(data) if data else b""))
            assert code == 0, events[-1]
        digest: str = entry["sha256"]
        return digest

    def deploy(self, app: str, contents: dict[str, bytes], **manifest: Any) -> str:
        release, files = bundle(contents, **manifest)
        for data in files.values():
            self.push(data)
        self.ask("store.stage", app=app, release=release, files=entries(files))
        return release

    def place(self, app: str, contents: dict[str, bytes], **manifest: Any) -> str:
        """Stage a release as `deploy` does, quickly: nothing travels, and no other process does it."""
        release, files = bundle(contents, **manifest)
        for data in files.values():
            path = disk.blob_path(str(self.root), hashlib.sha256(data).hexdigest())
            disk.make_folder(str(Path(path).parent))
            disk.write_file(path, data)
        store.stage({"app": app, "release": release, "files": entries(files)}, str(self.root), lambda stage, done, total: None)
        return release

    def make_current(self, app: str, release: str) -> None:
        """Activate a release and settle that it stays, as if it had proved itself."""
        deployment = os.urandom(8).hex()
        self.ask("deploy.activate", app=app, release=release, deployment=deployment, deadline_s=600)
        with disk.locked(str(self.root)):
            journal.note(str(self.root), app, "committed", release, deployment=deployment, by="test")


def listed(*pieces: bytes) -> dict[str, Any]:
    """Return what a job says of a blob that is cut into these pieces."""
    chunks = [Chunk(hashlib.sha256(piece).digest()[:MARK_BYTES], len(piece)) for piece in pieces if piece]
    data = b"".join(pieces)
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "chunks": base64.b64encode(pack(chunks)).decode()}


def frame(data: bytes) -> bytes:
    """Return a chunk as it travels, not packed."""
    return struct.pack(">I", len(data)) + data


def entries(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [{"path": path, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for path, data in sorted(files.items())]


def bundle(contents: dict[str, bytes], **manifest: Any) -> tuple[str, dict[str, bytes]]:
    """Return a release's digest and all of its files."""
    text = json.dumps({"schema": "edgekit.bundle/1", "files": entries(contents), **manifest}).encode()
    return hashlib.sha256(text).hexdigest(), {**contents, "manifest.json": text}


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("agent") / "agent.pyz"
    with zipfile.ZipFile(path, "w") as packed:
        for source in [
            PACKAGE / "__init__.py",
            PACKAGE / "_version.py",
            PACKAGE / "runtime.py",
            *sorted(PACKAGE.rglob("ondevice/**/*.py")),
        ]:
            packed.write(source, "edgekit/" + source.relative_to(PACKAGE).as_posix())
        packed.writestr("__main__.py", "from edgekit.ondevice.agent import main\nraise SystemExit(main())\n")
    return path


@pytest.fixture
def agent(archive: Path, tmp_path: Path) -> Agent:
    return Agent(sys.executable, archive, tmp_path / "root")


@pytest.fixture(params=["this", "3.8"])
def each_agent(request: pytest.FixtureRequest, archive: Path, tmp_path: Path) -> Agent:
    """For jobs that need the standard library alone: the lowest Python of a board as well."""
    if request.param == "this":
        return Agent(sys.executable, archive, tmp_path / "root")
    if PYTHON_38 is None:
        pytest.skip("no python3.8 on PATH, nor in pyenv")
    return Agent(PYTHON_38, archive, tmp_path / "root")
