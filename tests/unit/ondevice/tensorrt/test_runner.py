"""Running engines on boards with doubles of TensorRT and CUDA (tests/standin): what we ask of them, in which order, and what we make of it.

The doubles run the network inside with onnxruntime, once the stream is synchronized. They prove nothing of NVIDIA's software.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice import samples
from edgekit.ondevice.tensorrt import key
from edgekit.ondevice.tensorrt.board import board_of

np = pytest.importorskip("numpy")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from tests.standin.board import standin_python  # noqa: E402  # after what it needs
from tests.unit.ondevice.conftest import Agent  # noqa: E402

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


def engine(data: bytes, flags: list[str] | None = None, version: str = VERSION) -> bytes:
    """Return what the double of the builder would make of a network."""
    return b"STANDIN-ENGINE\n" + json.dumps({"tensorrt": version, "precision": flags or ["FP16"], "dla_core": None}).encode() + b"\n" + data


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


def live_key(agent: Agent) -> dict[str, Any]:
    """Return the key of the release's engine on this board, by the board's own facts."""
    code = "import json; from edgekit.ondevice.facts import engine_facts; print(json.dumps(engine_facts()))"
    environment = {**os.environ, "PYTHONPATH": str(Path(samples.__file__).parents[2])}
    told = subprocess.run([agent.command[0], "-c", code], stdout=subprocess.PIPE, env=environment, check=True).stdout
    return key.key_of(RECIPE, hashlib.sha256(network()).hexdigest(), board_of(json.loads(told)))


def build(agent: Agent, data: bytes) -> None:
    folder = agent.root / "engines" / key.digest_of(live_key(agent))
    folder.mkdir(parents=True)
    (folder / "engine.plan").write_bytes(data)


@pytest.mark.parametrize("packages", [("tensorrt", "pycuda"), ("tensorrt", "cuda")])
def test_the_golden_check_runs_the_engine_that_was_built_here(archive: Path, tmp_path: Path, packages: tuple[str, ...]) -> None:
    agent = board(tmp_path, archive, packages=packages)
    release = deploy(agent, tmp_path)
    build(agent, engine(network()))
    answer = agent.ask("golden", app="meter", release=release)
    assert answer["ok"] is True
    assert answer["max_diff"] < 0.01


def test_another_network_in_the_engine_fails_the_golden_check(archive: Path, tmp_path: Path) -> None:
    agent = board(tmp_path, archive)
    release = deploy(agent, tmp_path)
    build(agent, engine(network(scale=1.1)))
    assert agent.ask("golden", app="meter", release=release)["ok"] is False


def test_an_engine_of_the_bundle_runs_where_its_key_is_the_boards(archive: Path, tmp_path: Path) -> None:
    agent = board(tmp_path, archive)
    entry = {"path": "engine.plan", "layers": "layers.json", "key": live_key(agent)}
    assert agent.ask("golden", app="meter", release=deploy(agent, tmp_path, engine=entry))["ok"] is True


def test_an_engine_of_another_board_is_not_run(archive: Path, tmp_path: Path) -> None:
    agent = board(tmp_path, archive)
    entry = {"path": "engine.plan", "layers": "layers.json", "key": {**live_key(agent), "tensorrt": "8.5.2.2"}}
    refused = agent.refuse("golden", app="meter", release=deploy(agent, tmp_path, engine=entry))
    assert refused["kind"] == "state"
    assert "the bundle's is of another board (tensorrt 8.5.2.2, here 10.3.0)" in refused["message"]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (
            engine(b"", version="8.5.2"),
            "is an engine of another TensorRT or another GPU, and TensorRT 10.3.0 does not load it",
        ),
        (b"garbage", "is not loaded by TensorRT 10.3.0: IRuntime::deserializeCudaEngine: Error Code 1: Serialization"),
    ],
)
def test_a_plan_that_is_refused(archive: Path, tmp_path: Path, plan: bytes, said: str) -> None:
    agent = board(tmp_path, archive)
    release = deploy(agent, tmp_path)
    build(agent, plan)
    refused = agent.refuse("golden", app="meter", release=release)
    assert refused["kind"] == "runtime-failed"
    assert said in refused["message"]


def test_latency_tells_the_parts_and_the_memory(archive: Path, tmp_path: Path) -> None:
    agent = board(tmp_path, archive, {"STANDIN_INVOKE_US": '{"FP16": 2000}'})
    release = deploy(agent, tmp_path)
    build(agent, engine(network()))
    data = agent.ask("probe.latency", app="meter", release=release, min_time_s=0, min_count=30, warmup_cap_s=0)
    parts = data["parts_ns"]
    assert {name: len(values) for name, values in parts.items()} == {"h2d": 30, "compute": 30, "d2h": 30}
    assert min(parts["compute"]) >= 2_000_000
    for whole, *part in zip(data["invoke_ns"], *parts.values()):
        assert whole >= sum(part)
    assert data["gpu_memory_bytes"] >= len(network())
    assert (data["runtime"], data["fed"], data["delegate"]) == ({"name": "tensorrt", "version": VERSION}, "samples", None)


def test_a_cuda_graph_is_for_cuda_bindings(archive: Path, tmp_path: Path) -> None:
    agent = board(tmp_path, archive, packages=("tensorrt", "cuda"))
    release = deploy(agent, tmp_path)
    build(agent, engine(network()))
    asked: dict[str, Any] = {"app": "meter", "release": release, "cuda_graph": True}
    data = agent.ask("probe.latency", min_time_s=0, min_count=5, warmup_cap_s=0, **asked)
    assert len(data["parts_ns"]["compute"]) == 5
    agent.command[0] = board(tmp_path / "other", archive, trtexec=False).command[0]
    assert "pycuda records no CUDA graphs" in agent.refuse("probe.latency", **asked)["message"]


def test_a_board_without_cuda_in_python_says_what_is_missing(archive: Path, tmp_path: Path) -> None:
    agent = board(tmp_path, archive, packages=("tensorrt",), trtexec=False)
    release = deploy(agent, tmp_path)
    build(agent, engine(network()))
    refused = agent.refuse("golden", app="meter", release=release)
    assert refused["kind"] == "runtime-missing"
    assert refused["message"].startswith("Python does not reach CUDA: no pycuda.driver (")


def test_a_board_whose_gpu_does_not_work_says_so(archive: Path, tmp_path: Path) -> None:
    agent = board(tmp_path, archive, {"STANDIN_PYCUDA": "none"})
    release = deploy(agent, tmp_path)
    build(agent, engine(network()))
    refused = agent.refuse("golden", app="meter", release=release)
    assert (refused["kind"], refused["fix"]) == (
        "runtime-failed",
        "see on the board: nvidia-smi; on a Jetson the user must be in the group video",
    )


def test_an_engine_with_an_open_batch_runs_at_its_likeliest_shape(archive: Path, tmp_path: Path) -> None:
    agent = board(tmp_path, archive)
    release = deploy(agent, tmp_path)
    build(agent, engine(network(open_batch=True)))
    assert agent.ask("golden", app="meter", release=release)["ok"] is True


def test_nothing_is_left_on_the_context_stack_of_pycuda(tmp_path: Path) -> None:
    python = standin_python(tmp_path / "board")
    code = "import atexit; import pycuda.driver as d; atexit.register(lambda: print(len(d.stack)))\n"
    code += "from edgekit.ondevice.tensorrt.cuda import open_cuda; open_cuda(); open_cuda(); print(len(d.stack))"
    environment = {**os.environ, "PYTHONPATH": str(Path(samples.__file__).parents[2])}
    done = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, env=environment, check=True)
    assert done.stdout.split() == [b"1", b"0"]
