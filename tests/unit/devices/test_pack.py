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
    assert {"__main__.py", "ondevice/__init__.py", "ondevice/agent.py", "ondevice/wire.py"} <= set(names)
    assert all(name == "__main__.py" or (name.startswith("ondevice/") and name.endswith(".py")) for name in names)


def test_it_runs_without_edgekit(tmp_path: Path) -> None:
    name, data = agent_archive()
    (tmp_path / name).write_bytes(data)
    job = b'{"schema":"edgekit.job/1","job":"nothing","root":"/tmp"}\n'
    done = subprocess.run([sys.executable, "-I", "-S", str(tmp_path / name)], input=job, capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert b'"event":"error"' in done.stdout
    assert b"no job is called" in done.stdout
