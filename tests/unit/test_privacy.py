"""edgekit talks to boards and to nobody else: the libraries it loads must not report anything either."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.command import DEMO


def test_onnxruntime_leaves_no_trace_of_telemetry(tmp_path: Path) -> None:
    home, scratch = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    scratch.mkdir()
    # Without CI, which by itself keeps onnxruntime quiet.
    quiet = {"CI", "ORT_DISABLE_TELEMETRY", "GITHUB_ACTIONS", "XDG_CACHE_HOME", "PYTEST_CURRENT_TEST"}
    env = {name: value for name, value in os.environ.items() if name not in quiet}
    code = f"import edgekit, onnxruntime; onnxruntime.InferenceSession({str(DEMO / 'demo.onnx')!r})"
    env |= {"HOME": str(home), "TMPDIR": str(scratch), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
    assert [path.name for path in (*home.rglob("*"), *scratch.rglob("*"))] == []
