"""Engines of a small network as the double of the builder makes them, and boards with the doubles to run them on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from edgekit.ondevice import samples
from edgekit.ondevice.tensorrt import key
from edgekit.ondevice.tensorrt.board import board_of
from tests.standin.board import standin_python
from tests.unit.ondevice.conftest import Agent

VERSION = "10.3.0"
GOLDEN: dict[str, Any] = {"samples": "golden/s.npz", "outputs": "golden/o.npz", "builtin_outputs": "golden/b.npz", "tolerance": 4}
RECIPE: dict[str, Any] = {"precision": "fp16", "files": {"weak": "float.onnx", "strong": "half.onnx"}}
RECIPE.update(workspace_mib=None, dla_core=None, float32_nodes=[])


def network(open_batch: bool = False, scale: float = 1.0) -> bytes:
    """Return convolution, Relu and mean: four scores of an 8x8 image."""
    weights = scale * np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    value, make = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    nodes = [
        make("Conv", ["x", "w"], ["c"], name="conv"),
        make("Relu", ["c"], ["r"], name="relu"),
        make("ReduceMean", ["r"], ["y"], name="mean", axes=[2, 3], keepdims=0),
    ]
    batch = "batch" if open_batch else 1
    graph = onnx.helper.make_graph(nodes, "g", [value("x", 1, [batch, 3, 8, 8])], [value("y", 1, [batch, 4])])
    graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    data: bytes = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    return data


def engine(data: bytes, flags: list[str] | None = None, version: str = VERSION, dla_core: int | None = None) -> bytes:
    """Return what the double of the builder would make of a network."""
    return (
        b"STANDIN-ENGINE\n"
        + json.dumps({"tensorrt": version, "precision": flags or ["FP16"], "dla_core": dla_core}).encode()
        + b"\n"
        + data
    )


def images(count: int) -> Any:
    return np.random.default_rng(1).integers(0, 256, (count, 8, 8, 3), np.uint8)


def answers(data: bytes, pictures: Any) -> list[Any]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return [session.run(None, {"x": picture.astype(np.float32).transpose(2, 0, 1)[None]})[0] for picture in pictures]


def board(folder: Path, archive: Path, settings: dict[str, str] | None = None, **parts: Any) -> Agent:
    settings = {"STANDIN_GPU_NAME": "Orin", "STANDIN_COMPUTE_CAPABILITY": "8.7", **(settings or {})}
    return Agent(standin_python(folder / "board", settings, **parts), archive, folder / "root")


def deploy(agent: Agent, folder: Path, count: int = 4, **manifest: Any) -> str:
    """Deploy a release that holds the network and a recipe, its golden answers onnxruntime's."""
    pictures, files = images(count), {"float.onnx": network(), "half.onnx": network()}
    outputs = answers(network(), pictures)
    for name, arrays in ((GOLDEN["samples"], pictures), (GOLDEN["outputs"], outputs), (GOLDEN["builtin_outputs"], outputs)):
        samples.write(folder / "part.npz", arrays)
        files[name] = (folder / "part.npz").read_bytes()
    if "engine" in manifest:
        files["engine.plan"] = engine(network())
    told = {"artifact": "float.onnx", "preprocess": {}, "golden": GOLDEN, "recipe": RECIPE, **manifest}
    return agent.deploy("meter", files, **told)


def live_key(agent: Agent, recipe: dict[str, Any] = RECIPE) -> dict[str, Any]:
    """Return the key of the release's engine on this board, by the board's own facts."""
    code = "import json; from edgekit.ondevice.facts import engine_facts; print(json.dumps(engine_facts()))"
    environment = {**os.environ, "PYTHONPATH": str(Path(samples.__file__).parents[2])}
    told = subprocess.run([agent.command[0], "-c", code], stdout=subprocess.PIPE, env=environment, check=True).stdout
    return key.key_of(recipe, hashlib.sha256(network()).hexdigest(), board_of(json.loads(told)))


def build(agent: Agent, data: bytes, recipe: dict[str, Any] = RECIPE) -> None:
    folder = agent.root / "engines" / key.digest_of(live_key(agent, recipe))
    folder.mkdir(parents=True)
    (folder / "engine.plan").write_bytes(data)
