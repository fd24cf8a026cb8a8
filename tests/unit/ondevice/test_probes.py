"""The jobs behind the probes, on the real runtimes with a published INT8 model (MLPerf Tiny) and with a small ONNX network."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.ondevice import ops, samples
from edgekit.ondevice.throughput import Stream
from edgekit.ondevice.wire import AgentError

from .conftest import Agent

np = pytest.importorskip("numpy")
pytest.importorskip("ai_edge_litert")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

COUNT = 3
GOLDEN: dict[str, Any] = {
    "samples": "golden/samples.npz",
    "outputs": "golden/outputs.npz",
    "builtin_outputs": "golden/builtin-outputs.npz",
    "count": COUNT,
    "tolerance": 2,
}
NETWORK = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[1,3,32,32] x) => (float[1,5] y) <float[3072,5] w>
{ flat = Flatten(x) product = MatMul(flat, w) y = Softmax(product) }
"""


@pytest.fixture(scope="module")
def images(shared_data: Path) -> Any:
    with np.load(shared_data / "sets" / "cifar10_test_even_first2000.npz", allow_pickle=False) as found:
        return found["x"][:COUNT]


@pytest.fixture(scope="module")
def artifacts(shared_data: Path) -> dict[str, tuple[bytes, str]]:
    proto = onnx.parser.parse_model(NETWORK)
    weights = np.random.default_rng(1).normal(size=(3072, 5)).astype(np.float32) / 3000
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    tflite = (shared_data / "models" / "mlperf_tiny_ic_resnet8_int8_reference.tflite").read_bytes()
    return {"tflite": (tflite, "nhwc"), "onnxruntime": (proto.SerializeToString(), "nchw")}


def placed(agent: Agent, folder: Path, images: Any, artifact: bytes, layout: str) -> dict[str, Any]:
    """Put a release on the board; return what names it to a job."""
    (folder / "model").write_bytes(artifact)
    samples.write(folder / "x.npz", images)
    words: dict[str, Any] = {"samples": str(folder / "x.npz"), "outputs": str(folder / "out.npz"), "threads": 1}
    agent.ask("infer", artifact=str(folder / "model"), preprocess={"layout": layout}, **words)
    outputs = (folder / "out.npz").read_bytes()
    files = {"model": artifact, GOLDEN["samples"]: (folder / "x.npz").read_bytes(), GOLDEN["outputs"]: outputs}
    manifest = {"artifact": "model", "preprocess": {"layout": layout}, "golden": GOLDEN}
    return {"app": "meter", "release": agent.place("meter", {**files, GOLDEN["builtin_outputs"]: outputs}, **manifest), "threads": 1}


@pytest.fixture(params=["tflite", "onnxruntime"])
def release(request: pytest.FixtureRequest, agent: Agent, tmp_path: Path, images: Any, artifacts: Any) -> tuple[str, dict[str, Any]]:
    return request.param, placed(agent, tmp_path, images, *artifacts[request.param])


def phases(data: dict[str, Any]) -> list[str]:
    seen = [state["phase"] for state in data["states"]]
    return [phase for phase, before in zip(seen, [None, *seen]) if phase != before]


def test_streams_beside_each_other(agent: Agent, release: Any) -> None:
    _, named = release
    data = agent.ask("probe.throughput", streams=2, min_time_s=0.3, warmup_cap_s=0, **named)
    assert len(data["span_ns"]) == len(data["span_count"]) == 30
    assert sum(data["span_ns"]) >= 0.3e9
    assert sum(data["span_count"]) > 0
    assert [bool(series) for series in data["invoke_ns"]] == [True, True]
    assert (data["streams"], data["batch"], data["warmup"]["steady"]) == (2, 1, False)
    assert phases(data) == ["before", "warm-up", "throughput", "after"]


def test_a_stream_that_fails_in_any_way_ends_them_all() -> None:
    """One stream fewer would be another load, and its figures look sound. No runtime can be made to run out of memory here."""

    def invoke() -> None:
        raise MemoryError

    over = threading.Event()
    stream = Stream(SimpleNamespace(invoke=invoke), over)  # type: ignore[arg-type]
    stream.start()
    stream.join(10)
    assert isinstance(stream.failure, MemoryError)
    assert over.is_set()


def test_a_soak_tells_each_window(agent: Agent, release: Any) -> None:
    _, named = release
    code, events = agent.run("probe.soak", seconds=0.45, window_s=0.1, warmup_cap_s=0, **named)
    assert code == 0
    began, *windows = [event["data"] for event in events if event["event"] == "part"]
    assert began["state"]["phase"] == "before"
    assert events[-1]["data"]["windows"] == len(windows) >= 1
    assert events[-1]["data"]["state"]["phase"] == "after"
    for window in windows:
        times = window["invoke_ns"]
        assert 0 < times["min"] <= times["p50"] <= times["p90"] <= times["p99"] <= times["max"]
        assert window["count"] > 0
        assert window["rss_pages"] > 1000
    starts = [window["start_s"] for window in windows]
    assert starts == sorted(starts)
    assert {window["state"]["phase"] for window in windows if window["state"]} <= {"warm-up", "soak"}


def test_a_cold_start(agent: Agent, release: Any) -> None:
    kind, named = release
    data = agent.ask("probe.cold", **named)
    assert sorted(data["times_ns"]) == ["first_invoke", "import", "load", "second_invoke"]
    assert data["times_ns"]["import"] > data["times_ns"]["second_invoke"] > 0
    assert data["watch"]["core"] is None
    assert phases(data) == ["before", "cold", "after"]
    assert kind in data["runtime"]["name"] or data["runtime"]["name"] == "ai-edge-litert"


def test_memory_is_told_part_by_part(agent: Agent, release: Any) -> None:
    _, named = release
    stages = agent.ask("probe.memory", **named)["stages"]
    assert list(stages) == ["interpreter", "runtime", "model", "invoke"]
    peaks = [stage["peak"] for stage in stages.values()]
    assert peaks == sorted(peaks)
    assert peaks[1] - peaks[0] > 5 << 20, "a runtime takes megabytes"
    assert all(0 < stage["anonymous"] < stage["now"] <= stage["peak"] for stage in stages.values())


def test_the_same_input_again(agent: Agent, release: Any) -> None:
    _, named = release
    data = agent.ask("probe.consistency", rounds=5, **named)
    assert (data["samples"], data["rounds"], data["different"], data["different_anew"], data["steps_max"]) == (COUNT, 5, 0, 0, 0)


def test_outputs_come_as_the_artifact_gives_them(agent: Agent, release: Any, tmp_path: Path) -> None:
    _, named = release
    digest = agent.push((tmp_path / "x.npz").read_bytes())
    code, events = agent.run("probe.outputs", samples=digest, **named)
    end = events[-1]["data"]
    assert (code, end["count"]) == (0, COUNT)
    parts = [base64.b64decode(event["data"]["outputs"][0]) for event in events if event["event"] == "part"]
    assert parts == [output["x"].tobytes() for output in samples.read(tmp_path / "out.npz")]
    assert len(parts[0]) == np.prod(end["outputs"][0]["shape"]) * np.dtype(end["outputs"][0]["dtype"]).itemsize


def test_energy_is_not_guessed(agent: Agent, release: Any) -> None:
    """This machine shows no power sensors; were there some, the job would read them."""
    _, named = release
    data = agent.ask("probe.energy", idle_s=0.5, load_s=0.5, warmup_cap_s=0, **named)
    if data["unsupported"] is None:
        assert data["states"][0]["power_w"]
        assert data["count"] > 0
    else:
        assert "no power sensors" in data["unsupported"] or "no core is spare" in data["unsupported"]


def test_operators_where_the_runtime_tells(agent: Agent, release: Any) -> None:
    kind, named = release
    data = agent.ask("probe.ops", runs=7, **named)
    if kind == "tflite":
        assert "LiteRT tells Python nothing" in data["unsupported"]
        return
    assert {node["op"] for node in data["nodes"]} == {"Flatten", "MatMul", "Softmax"}
    assert all(len(node["times_ns"]) == 7 for node in data["nodes"])


def event(name: str, dur: int) -> dict[str, Any]:
    return {"cat": "Node", "name": name + "_kernel_time", "dur": dur, "args": {"op_name": "Conv"}}


def test_the_profile_of_a_warm_up_is_left_out_and_a_loop_is_one_node() -> None:
    events = [event("a", 1000)] * ops.WARM_RUNS + [event("a", 2)] * 3
    events += [event("b", 1), event("b", 2)] * (ops.WARM_RUNS + 3)
    events += [{"cat": "Session", "name": "model_run", "dur": 5, "args": {}}]
    found = {node["name"]: node["times_ns"] for node in ops.operators(json.dumps(events).encode(), 3)}
    assert found == {"a": [2000] * 3, "b": [3000] * 3}


@pytest.mark.parametrize("profile", [b"", b"{", b"[1]", b'[{"cat": "Node", "name": 3}]', b'[{"cat": "Node", "name": "a_kernel_time"}]'])
def test_what_is_no_profile_is_refused(profile: bytes) -> None:
    with pytest.raises(AgentError, match="not in the form that is known"):
        ops.operators(profile, 3)


@pytest.mark.parametrize(
    ("job", "fields"),
    [
        ("probe.throughput", {"streams": 0}),
        ("probe.throughput", {"streams": 65}),
        ("probe.soak", {"seconds": 1e9, "window_s": 1}),
        ("probe.soak", {"window_s": 0}),
        ("probe.consistency", {"rounds": 1}),
        ("probe.energy", {"period_s": 0}),
        ("probe.ops", {"runs": 0}),
        ("probe.outputs", {"samples": "../x"}),
    ],
)
def test_fields_out_of_bounds_are_refused(agent: Agent, release: Any, job: str, fields: dict[str, Any]) -> None:
    kind, named = release
    if kind == "tflite":
        assert agent.refuse(job, **{**named, **fields})["kind"] == "usage"
