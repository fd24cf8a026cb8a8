"""A network of several outputs: all of them are told, kept as golden answers and compared, by their names."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice import samples

from .conftest import Agent
from .onnxrelease import GOLDEN, MANIFEST, images

np = pytest.importorskip("numpy")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

COUNT = 3


def network(shift: float = 0.0) -> bytes:
    body = "{ big = GlobalMaxPool(x) small = GlobalAveragePool(x) moved = Add(small, shift) }"
    graph = "g (float[1,3,8,8] x) => (float[1,3,1,1] moved, float[1,3,1,1] big) " + body
    proto = onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 17]> ' + graph)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(shift), "shift"))
    data: bytes = proto.SerializeToString()
    return data


def infer(agent: Agent, folder: Path, artifact: bytes) -> dict[str, Any]:
    (folder / "m.onnx").write_bytes(artifact)
    samples.write(folder / "x.npz", images(COUNT))
    paths = {"artifact": str(folder / "m.onnx"), "samples": str(folder / "x.npz"), "outputs": str(folder / "out.npz")}
    return agent.ask("infer", preprocess={"layout": "nchw"}, threads=1, **paths)


def release(agent: Agent, folder: Path, golden_shift: float = 0.0, *, first_alone: bool = False) -> str:
    infer(agent, folder, network(golden_shift))
    if first_alone:
        samples.write(folder / "out.npz", [answer["moved"] for answer in samples.read(folder / "out.npz")])
    golden = (folder / "out.npz").read_bytes()
    files = {"model.onnx": network(), GOLDEN["outputs"]: golden, GOLDEN["builtin_outputs"]: golden}
    return agent.deploy("meter", {**files, GOLDEN["samples"]: (folder / "x.npz").read_bytes()}, **MANIFEST)


def test_all_outputs_are_told_in_their_order(agent: Agent, tmp_path: Path) -> None:
    answer = infer(agent, tmp_path, network())
    assert [table["name"] for table in answer["outputs"]] == ["moved", "big"]
    kept = list(samples.read(tmp_path / "out.npz"))
    assert [sorted(one) for one in kept] == [["big", "moved"]] * COUNT
    assert answer["predictions"] == [int(one["moved"].argmax()) for one in kept]
    named = {"app": "meter", "release": release(agent, tmp_path)}
    code, events = agent.run("probe.outputs", samples=agent.push((tmp_path / "x.npz").read_bytes()), threads=1, **named)
    assert code == 0
    parts = [event["data"]["outputs"] for event in events if event["event"] == "part"]
    assert [[base64.b64decode(one) for one in part] for part in parts] == [[one["moved"].tobytes(), one["big"].tobytes()] for one in kept]


@pytest.mark.parametrize(("shift", "first_alone", "ok"), [(0, False, True), (50, False, False), (0, True, True), (50, True, False)])
def test_golden_compares_all_that_was_kept(agent: Agent, tmp_path: Path, shift: float, first_alone: bool, ok: bool) -> None:
    named = release(agent, tmp_path, shift, first_alone=first_alone)
    assert agent.ask("golden", app="meter", release=named)["ok"] is ok


def test_golden_answers_of_other_outputs_are_refused(agent: Agent, tmp_path: Path) -> None:
    infer(agent, tmp_path, network())
    samples.write(tmp_path / "out.npz", [{"moved": one["moved"], "huge": one["big"]} for one in samples.read(tmp_path / "out.npz")])
    golden = (tmp_path / "out.npz").read_bytes()
    files = {"model.onnx": network(), GOLDEN["outputs"]: golden, GOLDEN["builtin_outputs"]: golden}
    named = agent.deploy("meter", {**files, GOLDEN["samples"]: (tmp_path / "x.npz").read_bytes()}, **MANIFEST)
    assert agent.refuse("golden", app="meter", release=named)["kind"] == "mismatch"
