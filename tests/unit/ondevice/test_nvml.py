"""Clock and throttling of a PC's NVIDIA GPU, from a double of its management library (tests/standin/libnvidia-ml.c)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import pytest

from edgekit.ondevice import board, nvml
from tests.standin.board import compile_library

GPU = {"mhz": 1500.0, "min_mhz": 0.0, "max_mhz": 1980.0, "governor": "the driver"}


@pytest.fixture(autouse=True)
def _library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    compile_library("libnvidia-ml", tmp_path)
    monkeypatch.setattr(nvml, "LIBRARY", str(tmp_path / "libnvidia-ml.so.1"))
    nvml._open.cache_clear()
    yield
    nvml._open.cache_clear()


@pytest.mark.parametrize(
    ("settings", "gpu", "alarms"),
    [
        ({}, GPU, []),
        ({"STANDIN_NVML_MHZ": "345/1980", "STANDIN_NVML_REASONS": "3"}, {**GPU, "mhz": 345.0}, []),
        ({"STANDIN_NVML_REASONS": "36"}, GPU, ["the GPU's power limit", "the GPU's temperature, by the driver"]),
        ({"STANDIN_NVML_REASONS": "72"}, GPU, ["the GPU's hardware slowdown", "the GPU's temperature, by its hardware"]),
        ({"STANDIN_NVML_ERROR": "3"}, None, []),
        ({"STANDIN_NVML_GPUS": "2"}, None, []),
        ({"STANDIN_NVML_GPUS": "0"}, None, []),
    ],
)
def test_a_gpu(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], gpu: dict[str, Any] | None, alarms: list[str]) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert nvml.clock() == (gpu, alarms)


def test_the_state_of_the_board_holds_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STANDIN_NVML_REASONS", "128")
    state = board.state()
    assert state["gpu"] == GPU
    assert "the GPU's power brake" in state["alarms"]
    assert board.state(str(tmp_path))["gpu"] is None


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "LIBRARY", "libnvidia-ml-that-nobody-has.so.1")
    assert nvml.clock() == (None, [])
