"""The check of a network with a full TensorRT on the host; that with TensorRT for RTX is in `test_rtx`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.standin.board import standin_python
from tests.unit.ondevice.conftest import Agent

from .conftest import CHAIN


@pytest.mark.parametrize(("refused", "node"), [("", None), ("Sigmoid", "middle")])
def test_a_network_is_taken_or_its_node_named(archive: Path, tmp_path: Path, refused: str, node: str | None) -> None:
    pytest.importorskip("numpy")
    python = standin_python(tmp_path / "board", {"STANDIN_TENSORRT_VERSION": "8.6.1", "STANDIN_REFUSE": refused}, driver=False)
    (tmp_path / "model.onnx").write_bytes(CHAIN)
    agent = Agent(python, archive, tmp_path / "root")
    found = agent.ask("engine.check", onnx=str(tmp_path / "model.onnx"), module="tensorrt", typing="weak")
    assert (found["version"], [error["node"] for error in found["errors"]]) == ("8.6.1", [node] if node else [])


def test_a_file_for_later_releases(archive: Path, tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    python = standin_python(tmp_path / "board", {"STANDIN_TENSORRT_VERSION": "8.6.1"}, driver=False)
    (tmp_path / "model.onnx").write_bytes(CHAIN)
    agent = Agent(python, archive, tmp_path / "root")
    error = agent.refuse("engine.check", onnx=str(tmp_path / "model.onnx"), module="tensorrt", typing="strong")
    assert "TensorRT 8.6.1 has no strongly typed networks" in error["message"]
