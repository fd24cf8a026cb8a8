"""The NVIDIA GPU among the facts, from a double of its driver (tests/standin/libcuda.c)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.ondevice import gpu
from tests.standin.board import standin_python

from .conftest import Agent


def board(folder: Path, agent: Agent, settings: dict[str, str]) -> Agent:
    agent.command[0] = standin_python(folder / "board", settings, packages=(), trtexec=False, python=agent.command[0])
    return agent


def test_a_gpu(tmp_path: Path, each_agent: Agent) -> None:
    settings = {"STANDIN_GPU_NAME": "NVIDIA Thor", "STANDIN_COMPUTE_CAPABILITY": "11.0", "STANDIN_CUDA": "13.0"}
    found = board(tmp_path, each_agent, settings).ask("facts")
    expected = {"name": "NVIDIA Thor", "compute_capability": "11.0", "cuda": "13.0", "memory_total_bytes": 7620 << 20}
    assert (found["gpu"], found["gpu_error"]) == (expected, None)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"STANDIN_GPUS": "0"}, None),
        ({"STANDIN_CUINIT": "100"}, "cuInit of the NVIDIA driver says CUDA_ERROR_NO_DEVICE (100)"),
        ({"STANDIN_CUINIT": "abort"}, "the process that asked the NVIDIA driver ended: killed by signal 6"),
    ],
)
def test_a_driver_without_a_gpu(tmp_path: Path, agent: Agent, settings: dict[str, str], error: str | None) -> None:
    found = board(tmp_path, agent, settings).ask("facts")
    assert found["gpu"] is None
    assert (found["gpu_error"] or "").strip() == (error or "")


def test_a_driver_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", standin_python(tmp_path / "board", {"STANDIN_CUINIT": "hang"}, packages=(), trtexec=False))
    monkeypatch.setattr(gpu, "ANSWER_TIMEOUT_S", 1)
    assert gpu.ask() == (None, "the NVIDIA driver did not answer within 1 s")


def test_a_library_that_is_none(tmp_path: Path) -> None:
    python = standin_python(tmp_path / "board", packages=(), trtexec=False, driver=False)
    (tmp_path / "board" / "lib" / "libcuda.so.1").write_bytes(b"no library")
    code = "from edgekit.ondevice import gpu; print(gpu.describe())"
    said = subprocess.run([python, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True).stdout
    assert "'gpu': None" in said
    assert "libcuda.so.1" in said


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "LIBRARY", "libcuda-that-nobody-has.so.1")
    assert gpu.describe() == {"gpu": None, "error": None}
