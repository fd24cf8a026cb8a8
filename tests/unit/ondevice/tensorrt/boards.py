"""Test boards with doubles of NVIDIA's software, and the job that builds engines on them."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from edgekit.ondevice import wire
from edgekit.ondevice.tensorrt import key
from edgekit.ondevice.tensorrt.board import board_of
from tests.standin.board import PACKAGES, standin_python
from tests.unit.ondevice.conftest import Agent

from .conftest import CHAIN

WAYS = ("tensorrt", "trtexec")
RECIPE: dict[str, Any] = {"precision": "mixed", "workspace_mib": None, "dla_core": None, "float32_nodes": []}
Make = Callable[..., "Board"]


class Board(Agent):
    """A board whose root stays when it is made anew with other settings."""

    board: dict[str, Any] | None = None

    def fields(self, data: bytes = CHAIN, **recipe: Any) -> dict[str, Any]:
        onnx, wanted = self.push(data), {**RECIPE, **recipe}
        if self.board is None:
            self.board = board_of(self.ask("facts"))
        return {"onnx": onnx, "recipe": wanted, "key": key.key_of(wanted, onnx, self.board), "timing_cache": None}

    def begin(self, fields: dict[str, Any]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(wire.encode_job("engine.build", str(self.root), fields))
        process.stdin.close()
        return process

    def end(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        assert process.stdout is not None
        with process:
            return wire.decode_event(process.stdout.read().splitlines()[-1])

    def header(self, engine: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.root / "engines" / engine / "engine.plan").read_bytes().split(b"\n")[1].decode())
        return told


@pytest.fixture
def board(archive: Path, tmp_path: Path) -> Make:
    def make(way: str = "tensorrt", **settings: str) -> Board:
        if way == "tensorrt":
            pytest.importorskip("onnxruntime", reason="the double opens engines with it")
        number = len(list(tmp_path.glob("board-*")))
        settings = {"STANDIN_" + name: value for name, value in settings.items()}
        settings.setdefault("STANDIN_JOURNAL", str(tmp_path / "journal"))
        packages = PACKAGES if way == "tensorrt" else ()
        python = standin_python(tmp_path / f"board-{number}", settings, packages=packages)
        return Board(python, archive, tmp_path / "root")

    return make


def journal(folder: Path) -> list[dict[str, Any]]:
    path = folder / "journal"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def until(condition: Callable[[], Any]) -> None:
    """Wait for something that surely comes; the test's runner ends what does not."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for counts as ended."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True
