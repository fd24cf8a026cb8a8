"""Running engines on boards with doubles of TensorRT and CUDA (tests/standin): what we ask of them, in which order, and what we make of it.

The doubles run the network inside with onnxruntime, once the stream is synchronized. They prove nothing of NVIDIA's software.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice import samples, wire
from edgekit.ondevice.tensorrt import cuda, libcuda
from tests.conftest import ROOT

pytest.importorskip("numpy")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from tests.standin.board import standin_python  # after what it needs
from tests.unit.ondevice.tensorrt.engines import RECIPE, VERSION, board, build, deploy, engine, live_key, network


@pytest.mark.parametrize("packages", [("tensorrt", "pycuda"), ("tensorrt", "cuda"), ("tensorrt",)])
def test_the_golden_check_runs_the_engine_that_was_built_here(archive: Path, tmp_path: Path, packages: tuple[str, ...]) -> None:
    agent = board(tmp_path, archive, packages=packages)
    release = deploy(agent, tmp_path)
    build(agent, engine(network()))
    answer = agent.ask("golden", app="meter", release=release)
    assert answer["ok"] is True
    assert answer["max_diff"] < 0.01


def test_an_engine_for_a_dla_is_opened_on_its_core(archive: Path, tmp_path: Path) -> None:
    agent, recipe = board(tmp_path, archive), {**RECIPE, "dla_core": 1}
    release = deploy(agent, tmp_path, recipe=recipe)
    build(agent, engine(network(), dla_core=1), recipe)
    assert agent.ask("golden", app="meter", release=release)["ok"] is True


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


def test_layers_are_timed_by_the_profiler(archive: Path, tmp_path: Path) -> None:
    agent = board(tmp_path, archive)
    release = deploy(agent, tmp_path)
    build(agent, engine(network()))
    data = agent.ask("probe.ops", app="meter", release=release, runs=6)
    assert [(node["name"], node["times_ns"]) for node in data["nodes"]] == [(name, [250_000] * 6) for name in ("conv", "relu", "mean")]


def test_a_cuda_graph_is_for_cuda_bindings(archive: Path, tmp_path: Path) -> None:
    agent = board(tmp_path, archive, packages=("tensorrt", "cuda"))
    release = deploy(agent, tmp_path)
    build(agent, engine(network()))
    asked: dict[str, Any] = {"app": "meter", "release": release, "cuda_graph": True}
    data = agent.ask("probe.latency", min_time_s=0, min_count=5, warmup_cap_s=0, **asked)
    assert len(data["parts_ns"]["compute"]) == 5
    agent.command[0] = board(tmp_path / "other", archive).command[0]
    refused = agent.refuse("probe.latency", **asked)
    assert "pycuda records no CUDA graphs" in refused["message"], "trtexec, which is there, does not stand in for what was asked for"
    assert refused["kind"] == "usage"


def test_a_board_whose_python_has_no_cuda_asks_the_driver_itself(archive: Path, tmp_path: Path) -> None:
    agent = board(tmp_path, archive, packages=("tensorrt",), trtexec=False)
    release = deploy(agent, tmp_path)
    build(agent, engine(network()))
    asked: dict[str, Any] = {"app": "meter", "release": release, "min_time_s": 0, "min_count": 5, "warmup_cap_s": 0}
    data = agent.ask("probe.latency", **asked)
    assert [len(values) for values in data["parts_ns"].values()] == [5, 5, 5]
    assert "libcuda records no CUDA graphs here" in agent.refuse("probe.latency", cuda_graph=True, **asked)["message"]


def test_a_board_without_a_driver_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("pycuda.driver", "cuda.bindings.driver", "cuda.cuda"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(libcuda, "LIBRARY", "libcuda.so.none")
    with pytest.raises(wire.AgentError, match=r"Python does not reach CUDA: libcuda\.so\.none") as caught:
        cuda.open_cuda()
    assert "no pycuda.driver (" in caught.value.message
    assert (caught.value.kind, caught.value.fix) == ("runtime-missing", cuda.NO_GPU)


@pytest.mark.parametrize("packages", [("tensorrt", "cuda"), ("tensorrt",)])
def test_a_gpu_without_room_says_so(archive: Path, tmp_path: Path, packages: tuple[str, ...]) -> None:
    """A buffer of this size fits neither double."""
    python = standin_python(tmp_path / "board", {"STANDIN_GPU_FREE_MIB": "1", "STANDIN_GPU_MEMORY_MIB": "2"}, packages=packages)
    code = "from edgekit.ondevice.tensorrt.cuda import open_cuda; open_cuda().reserve(3 << 20)"
    said = subprocess.run([python, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True).stderr
    assert re.search(r"AgentError: (cuda-bindings|libcuda): .*out.of.memory", said)


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


def test_all_that_is_on_the_gpu_goes_before_its_context(tmp_path: Path) -> None:
    python = standin_python(tmp_path / "board")
    (tmp_path / "e.plan").write_bytes(engine(network()))
    code = """
import sys, pycuda.driver, standin_gpu
from edgekit.ondevice.tensorrt.runner import TensorRtRunner
pop = pycuda.driver.Context.pop
pycuda.driver.Context.pop = staticmethod(lambda: (pop(), print(len(standin_gpu.memory), len(pycuda.driver.stack))))
kept = [TensorRtRunner("/", sys.argv[1], None) for _ in range(2)]
print(len(standin_gpu.memory), len(pycuda.driver.stack))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(samples.__file__).parents[2])}
    done = subprocess.run([python, "-c", code, str(tmp_path / "e.plan")], stdout=subprocess.PIPE, env=environment, check=True)
    assert done.stdout.splitlines() == [b"6 1", b"0 0"]  # two engines with an input and an output each, one context


def test_an_application_changes_engines(archive: Path, tmp_path: Path) -> None:
    """Every call reaches CUDA from one thread, whoever asks; the engine before gives its memory back."""
    agent = board(tmp_path, archive)
    releases = [deploy(agent, tmp_path, threads=threads) for threads in (1, 2)]
    build(agent, engine(network()))
    agent.make_current("meter", releases[0])
    code = """
import sys, threading, numpy, pycuda.driver
from edgekit.runtime import load
image, seen, who = numpy.zeros((8, 8, 3), "uint8"), [], set()
made = pycuda.driver.Stream.synchronize
pycuda.driver.Stream.synchronize = lambda self: (who.add(threading.current_thread().name), made(self))[1]
model = load("meter", sys.argv[1])
import standin_gpu
for line in sys.stdin:
    thread = threading.Thread(target=lambda: seen.append(model.predict(image).shape))
    thread.start(), thread.join(), model.predict(image)
    print(model.release, len(standin_gpu.memory), seen[-1], len(who), flush=True)
model.close()
print(len(standin_gpu.memory))
"""
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": str(archive)}
    process = subprocess.Popen([agent.command[0], "-c", code, str(agent.root)], stdin=pipe, stdout=pipe, text=True, env=environment)
    assert process.stdin
    assert process.stdout
    told = []
    for release in releases:
        agent.make_current("meter", release)
        process.stdin.write("now\n")
        process.stdin.flush()
        told.append(process.stdout.readline().split(" ", 1))
    assert [release for release, _ in told] == releases
    assert told[0][1] == told[1][1]
    assert told[0][1].endswith(" (4,) 1\n")
    assert process.communicate(timeout=60)[0] == "0\n"
    assert process.returncode == 0
