"""Engines built on test boards, by the double of the Python package and by that of trtexec; what a builder survives is in `test_work`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from edgekit.ondevice import wire
from edgekit.ondevice.tensorrt import build, key
from tests.standin.board import standin_python
from tests.unit.ondevice.conftest import Agent

from .boards import RECIPE, WAYS, Board, Make, board, journal
from .conftest import CHAIN, VERSIONS

__all__ = ["board"]  # a fixture

FILES = {"engine.plan", "timing.cache", "layers.json", "build.log"}


@pytest.mark.parametrize("way", WAYS)
def test_an_engine_is_built_once(board: Make, tmp_path: Path, way: str) -> None:
    there = board(way)
    fields = there.fields()
    first = there.ask("engine.build", **fields)
    assert first["engine"] == key.digest_of(fields["key"])
    assert (first["cached"], first["builder"], first["fallback"], first["warnings"]) == (False, way, [], [])
    folder = there.root / "engines" / first["engine"]
    assert set(first["files"]) == FILES
    assert {path.name for path in folder.iterdir()} == {*FILES, "engine.json"}
    for name, file in first["files"].items():
        data = (folder / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
    assert len(json.loads((folder / "layers.json").read_text())["Layers"]) == 3
    assert way == "tensorrt" or "Engine built in" in (folder / "build.log").read_text()
    assert there.ask("engine.build", **fields) == {**first, "cached": True}
    assert len(journal(tmp_path)) == 1


@pytest.mark.parametrize(("version", "precision"), [*((version, "mixed") for version in VERSIONS), ("10.3.0", "int8"), ("10.3.0", "fp16")])
def test_both_ways_build_the_same(board: Make, version: str, precision: str) -> None:
    headers = []
    for way in WAYS:
        there = board(way, TENSORRT_VERSION=version)
        built = there.ask("engine.build", **there.fields(precision=precision, float32_nodes=["middle"], workspace_mib=32))
        headers.append(there.header(built["engine"]))
        for path in sorted((there.root / "engines").glob("*/*")):
            path.unlink()
    assert headers[0] == headers[1]
    assert headers[0]["workspace_bytes"] == 32 << 20


@pytest.mark.parametrize("way", WAYS)
def test_what_a_dla_left_to_the_gpu(board: Make, way: str) -> None:
    there = board(way, DLA_CORES="1")
    built = there.ask("engine.build", **there.fields(dla_core=0))
    assert built["fallback"] == ["middle"]
    assert there.header(built["engine"])["dla_core"] == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_dla_that_is_not_there(board: Make, way: str) -> None:
    there = board(way)
    assert "DLA" in there.refuse("engine.build", **there.fields(dla_core=0))["message"]


@pytest.mark.parametrize(("name", "value"), [("tensorrt", "8.6.1"), ("compute_capability", "7.2"), ("onnx_sha256", "0" * 64)])
def test_another_key_builds_nothing(board: Make, tmp_path: Path, name: str, value: str) -> None:
    there = board()
    fields = there.fields()
    error = there.refuse("engine.build", **{**fields, "key": {**fields["key"], name: value}})
    assert error["kind"] == "mismatch"
    assert error["message"].startswith(f"{name}: the engine is asked for {value!r}, the board has ")
    assert journal(tmp_path) == []


def test_a_damaged_engine_is_no_engine(board: Make) -> None:
    there = board()
    fields = there.fields()
    built = there.ask("engine.build", **fields)
    plan = there.root / "engines" / built["engine"] / "engine.plan"
    plan.write_bytes(plan.read_bytes()[:-1] + b"?")
    again = there.ask("engine.build", **fields)
    assert (again["cached"], again["files"]["engine.plan"]) == (False, built["files"]["engine.plan"])


@pytest.mark.parametrize("way", WAYS)
def test_timings_of_the_same_board_are_carried(board: Make, tmp_path: Path, way: str) -> None:
    there = board(way)
    first = there.ask("engine.build", **there.fields())
    there.ask("engine.build", **there.fields(precision="int8"))
    timing = (there.root / "engines" / first["engine"] / "timing.cache").read_bytes()
    there.root = tmp_path / "another"
    pushed = there.push(timing)
    there.ask("engine.build", **{**there.fields(), "timing_cache": pushed})
    newer = board(way, TENSORRT_VERSION="10.7.0")
    newer.ask("engine.build", **newer.fields())
    assert [line["timed"] for line in journal(tmp_path)] == [0, 3, 3, 0]


@pytest.mark.parametrize("field", ["onnx", "recipe", "timing_cache"])
def test_hostile_fields(agent: Agent, field: str) -> None:
    fields = {"onnx": "0" * 64, "recipe": RECIPE, "key": {}, "timing_cache": None}
    assert agent.refuse("engine.build", **{**fields, field: "../x"})["kind"] == "usage"


MIB = 1 << 20


@pytest.mark.parametrize(
    ("wanted", "available", "shared", "expected"),
    [
        (None, 4096, True, (4096 - 256 - 300) // 2),
        (None, 4096, False, None),
        (512, 4096, True, 512),
        (8192, 4096, False, 8192),
    ],
)
def test_the_workspace(wanted: int | None, available: int, shared: bool, expected: int | None) -> None:
    found, warnings = build.workspace_bytes({"workspace_mib": wanted}, 100 * MIB, available * MIB, shared)
    assert found == (None if expected is None else expected * MIB)
    assert bool(warnings) == (wanted is None and shared)


@pytest.mark.parametrize(("wanted", "available", "shared"), [(None, 500, True), (None, 500, False), (3800, 4096, True)])
def test_too_little_memory(wanted: int | None, available: int, shared: bool) -> None:
    with pytest.raises(wire.AgentError, match="MiB of memory are free") as caught:
        build.workspace_bytes({"workspace_mib": wanted}, 100 * MIB, available * MIB, shared)
    assert caught.value.kind == "state"


def test_trtexec_cannot_name_every_node(board: Make) -> None:
    there = board("trtexec")
    error = there.refuse("engine.build", **there.fields(float32_nodes=["a:b"]))
    assert "trtexec cannot name node 'a:b'" in error["message"]


def test_no_tensorrt_at_all(archive: Path, tmp_path: Path) -> None:
    python = standin_python(tmp_path / "board", packages=(), trtexec=False)
    there = Board(python, archive, tmp_path / "root")
    fields = {"onnx": there.push(CHAIN), "recipe": RECIPE, "key": {}, "timing_cache": None}
    error = there.refuse("engine.build", **fields)
    assert (error["kind"], "there is no TensorRT" in error["message"]) == ("runtime-missing", True)
