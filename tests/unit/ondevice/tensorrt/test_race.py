"""A race on a board with doubles of TensorRT and CUDA (tests/standin): who runs when, and what is told of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice import samples
from edgekit.ondevice.turns import BLOCK_RUNS, order

DIGESTS = {"FP16": "1" * 64, "FP16+INT8": "2" * 64}


@pytest.mark.parametrize(
    ("count", "rounds"),
    [(1, ["A", "A"]), (2, ["AB", "BA", "BA", "AB"]), (3, ["ABC", "CBA", "BCA", "ACB", "CAB", "BAC", "ABC"])],
)
def test_who_runs_when(count: int, rounds: list[str]) -> None:
    assert ["".join("ABC"[place] for place in order(count, turn)) for turn in range(len(rounds))] == rounds


def test_everyone_is_as_often_in_every_place() -> None:
    for count in (2, 3, 4):
        rounds = [order(count, turn) for turn in range(2 * count)]
        assert all(sorted(one[place] for one in rounds) == sorted(2 * list(range(count))) for place in range(count))


@pytest.fixture
def raced(archive: Path, tmp_path: Path) -> Any:
    """Return a board with two engines of one network, one slower, a pushed set, and what was asked."""
    pytest.importorskip("numpy")
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from tests.unit.ondevice.tensorrt.engines import board, engine, images, network

    agent = board(tmp_path, archive, {"STANDIN_INVOKE_US": '{"FP16": 3000, "FP16+INT8": 1000}'})
    for flags, digest in DIGESTS.items():
        folder = agent.root / "engines" / digest
        folder.mkdir(parents=True)
        (folder / "engine.plan").write_bytes(engine(network(scale=1.0 if flags == "FP16" else -1.0), flags.split("+"), dla_core=1))
        (folder / "engine.json").write_text(json.dumps({"key": {"dla_core": 1}}))
    samples.write(tmp_path / "set.npz", images(6))
    asked = {"engines": list(DIGESTS.values()), "samples": agent.push((tmp_path / "set.npz").read_bytes()), "preprocess": {}}
    return agent, {**asked, "min_time_s": 0, "min_count": 30, "warmup_cap_s": 0.5}


def test_a_race(raced: Any) -> None:
    from tests.unit.ondevice.tensorrt.engines import answers, images, network

    agent, asked = raced
    code, events = agent.run("engine.race", **asked)
    data = events[-1]["data"]
    assert code == 0, data
    assert data["block_runs"] == BLOCK_RUNS
    fast, slow = data["engines"][DIGESTS["FP16+INT8"]], data["engines"][DIGESTS["FP16"]]
    assert slow["predictions"] == [int(output.argmax()) for output in answers(network(), images(6))]
    assert fast["predictions"] == [int(output.argmax()) for output in answers(network(scale=-1.0), images(6))]
    assert [len(one["latency"]["invoke_ns"]) for one in (fast, slow)] == [2 * BLOCK_RUNS] * 2  # whole blocks, at least 30
    assert min(slow["latency"]["invoke_ns"]) >= 3_000_000
    assert sorted(fast["latency"]["invoke_ns"])[BLOCK_RUNS] < sorted(slow["latency"]["invoke_ns"])[BLOCK_RUNS]
    assert "end_to_end_ns" in fast["latency"]
    assert json.dumps(fast["latency"]["states"]) == json.dumps(slow["latency"]["states"])


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"engines": []}, "usage", "engines must be a list of 1 to 8 digests"),
        ({"engines": ["1" * 64, "../etc"]}, "usage", "an engine is not as it must be"),
        ({"engines": ["9" * 64]}, "state", "engine 999999999999 is not on this board"),
        ({"samples": "8" * 64}, "state", "the sample set is not here"),
        ({"preprocess": 3}, "usage", "engine.race needs a table preprocess"),
        ({"min_count": 0}, "usage", "min_count must be a whole number"),
        ({"preprocess": {"crop": [4, 4]}}, "input", "the model wants [1, 3, 8, 8]"),
    ],
)
def test_what_cannot_be_raced(raced: Any, change: dict[str, Any], kind: str, said: str) -> None:
    agent, asked = raced
    refused = agent.refuse("engine.race", **{**asked, **change})
    assert refused["kind"] == kind
    assert said in refused["message"]
