from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgekit.devices.pack import agent_archive
from tests.unit.ondevice.conftest import PYTHON_38


def test_the_same_sources_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    name, data = agent_archive()
    for path in Path("edgekit/ondevice").glob("*.py"):
        os.utime(path)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert agent_archive() == (name, data)
    assert name == f"agent-{hashlib.sha256(data).hexdigest()[:12]}.pyz"


def test_it_holds_the_wing_and_nothing_else() -> None:
    with zipfile.ZipFile(io.BytesIO(agent_archive()[1])) as archive:
        names = archive.namelist()
    assert names == sorted(names)
    face = {"__main__.py", "edgekit/__init__.py", "edgekit/_version.py", "edgekit/runtime.py"}
    assert face | {"edgekit/ondevice/__init__.py", "edgekit/ondevice/agent.py", "edgekit/ondevice/wire.py"} <= set(names)
    assert all(name in face or (name.startswith("edgekit/ondevice/") and name.endswith(".py")) for name in names)


def test_it_runs_without_edgekit(tmp_path: Path) -> None:
    name, data = agent_archive()
    (tmp_path / name).write_bytes(data)
    job = b'{"schema":"edgekit.job/1","job":"nothing","root":"/tmp"}\n'
    done = subprocess.run([sys.executable, "-I", "-S", str(tmp_path / name)], input=job, capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert b'"event":"error"' in done.stdout
    assert b"no job is called" in done.stdout


@pytest.mark.parametrize("python", [sys.executable, PYTHON_38])
def test_a_program_keeps_to_the_file_it_began_with(tmp_path: Path, python: str | None) -> None:
    """What it imports later comes from there, though the link by which it came has moved on."""
    if python is None:
        pytest.skip("no python3.8 on PATH, nor in pyenv")
    name, data = agent_archive()
    (tmp_path / name).write_bytes(data)
    (tmp_path / "lib").symlink_to(name)
    code = "import os, sys; sys.path.insert(0, sys.argv[1]); import edgekit; os.unlink(sys.argv[1]); from edgekit.runtime import load"
    command = [python, "-I", "-S", "-W", "error", "-c", code + "; print(load.__module__)", str(tmp_path / "lib")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("edgekit.ondevice.client\n", "")
