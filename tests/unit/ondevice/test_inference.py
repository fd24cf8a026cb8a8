"""Golden check, probes and `infer` on the real runtime with a published INT8 model (MLPerf Tiny, image classification)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice import samples

from .conftest import Agent

np = pytest.importorskip("numpy")
pytest.importorskip("ai_edge_litert")

COUNT = 40
GOLDEN: dict[str, Any] = {
    "samples": "golden/samples.npz",
    "outputs": "golden/outputs.npz",
    "builtin_outputs": "golden/builtin-outputs.npz",
    "count": 4,
    "tolerance": 2,
}
MANIFEST: dict[str, Any] = {"artifact": "model.tflite", "preprocess": {"layout": "nhwc"}, "golden": GOLDEN}


@pytest.fixture(scope="module")
def model(shared_data: Path) -> bytes:
    return (shared_data / "models" / "mlperf_tiny_ic_resnet8_int8_reference.tflite").read_bytes()


@pytest.fixture(scope="module")
def images(shared_data: Path) -> tuple[Any, Any]:
    with np.load(shared_data / "sets" / "cifar10_test_even_first2000.npz", allow_pickle=False) as found:
        return found["x"][:COUNT], found["y"][:COUNT]


def infer(
    agent: Agent, folder: Path, artifact: bytes, x: Any, y: Any = None, *, builtin: bool = False, **preprocess: Any
) -> tuple[dict[str, Any], Any]:
    (folder / "m.tflite").write_bytes(artifact)
    samples.write(folder / "x.npz", x, y)
    answer = agent.ask(
        "infer",
        artifact=str(folder / "m.tflite"),
        samples=str(folder / "x.npz"),
        outputs=str(folder / "out.npz"),
        preprocess={"layout": "nhwc", **preprocess},
        threads=1,
        builtin=builtin,
    )
    return answer, [output["x"] for output in samples.read(folder / "out.npz")]


def contents(folder: Path, agent: Agent, model: bytes, x: Any, shift: int = 0) -> dict[str, bytes]:
    """Make a bundle's files; ``shift`` moves every golden answer by so many steps."""
    files = {"model.tflite": model}
    for key, builtin in (("outputs", False), ("builtin_outputs", True)):
        _, outputs = infer(agent, folder, model, x, builtin=builtin)
        samples.write(folder / "out.npz", [np.where(output > 0, output - shift, output + shift).astype(np.int8) for output in outputs])
        files[GOLDEN[key]] = (folder / "out.npz").read_bytes()
    return {**files, GOLDEN["samples"]: (folder / "x.npz").read_bytes()}


def test_infer_says_what_the_interpreter_says(agent: Agent, tmp_path: Path, model: bytes, images: tuple[Any, Any]) -> None:
    from ai_edge_litert.interpreter import Interpreter

    x, y = images
    answer, outputs = infer(agent, tmp_path, model, x, y)
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    for image, output in zip(x, outputs):
        interpreter.set_tensor(0, (image[None].astype(np.int16) - 128).astype(np.int8))
        interpreter.invoke()
        assert np.array_equal(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), output)
    assert answer["predictions"] == [int(output.argmax()) for output in outputs]
    assert answer["labels"] == y.tolist()
    assert answer["top1"] == np.mean(np.array(answer["predictions"]) == y) > 0.8
    (entry,), (leave,) = answer["inputs"], answer["outputs"]
    assert entry == {"name": "input_1_int8", "dtype": "int8", "scale": 1.0, "zero_point": -128, "shape": [1, 32, 32, 3]}
    assert leave == {"name": "Identity_int8", "dtype": "int8", "scale": 1 / 256, "zero_point": -128, "shape": [1, 10]}


def test_infer_takes_a_float_model(agent: Agent, tmp_path: Path, shared_data: Path, images: tuple[Any, Any]) -> None:
    float_model = (shared_data / "models" / "mlperf_tiny_ic_resnet8_fp32.tflite").read_bytes()
    answer, outputs = infer(agent, tmp_path, float_model, images[0], images[1])
    assert answer["top1"] > 0.8
    assert [(entry["dtype"], entry["scale"]) for entry in answer["inputs"]] == [("float32", None)]
    assert np.allclose([output.sum() for output in outputs], 1, atol=1e-5)


@pytest.mark.parametrize(
    ("artifact", "preprocess", "kind"),
    [("model", {"layout": "nchw"}, "input"), ("model", {"crop": [8, 8]}, "input"), ("text", {}, "input"), ("torn", {}, "runtime-failed")],
)
def test_what_cannot_run_is_refused(agent: Agent, tmp_path: Path, model: bytes, artifact: str, preprocess: Any, kind: str) -> None:
    data = {"model": model, "text": b"no model at all", "torn": model[:8] + bytes(64)}[artifact]
    (tmp_path / "m.tflite").write_bytes(data)
    samples.write(tmp_path / "x.npz", [np.zeros((32, 32, 3), np.uint8)])
    paths = {"artifact": str(tmp_path / "m.tflite"), "samples": str(tmp_path / "x.npz"), "outputs": str(tmp_path / "out.npz")}
    refused = agent.refuse("infer", preprocess={"layout": "nhwc", **preprocess}, **paths)
    assert refused["kind"] == kind
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize(("shift", "ok"), [(0, True), (2, True), (3, False)])
def test_golden_allows_as_many_steps_as_declared(
    agent: Agent, tmp_path: Path, model: bytes, images: tuple[Any, Any], shift: int, ok: bool
) -> None:
    release = agent.deploy("meter", contents(tmp_path, agent, model, images[0][:4], shift), **MANIFEST)
    answer = agent.ask("golden", app="meter", release=release)
    assert (answer["ok"], answer["count"], answer["max_diff"], answer["tolerance"]) == (ok, 4, shift, 2)
    assert agent.refuse("golden", app="meter")["kind"] == "state"  # none is active
    agent.make_current("meter", release)
    assert agent.ask("golden", app="meter")["ok"] is ok


def test_latency_measures_until_both_minima(agent: Agent, tmp_path: Path, model: bytes, images: tuple[Any, Any]) -> None:
    release = agent.deploy("meter", contents(tmp_path, agent, model, images[0][:4]), **MANIFEST)
    code, events = agent.run("probe.latency", app="meter", release=release, min_time_s=0.6, min_count=50, warmup_cap_s=1, threads=1)
    assert code == 0
    assert {event["stage"] for event in events[:-1]} >= {"warm-up", "latency", "end-to-end"}
    assert all(event["done"] <= event["total"] for event in events[:-1] if event["stage"] != "warm-up")
    data = events[-1]["data"]
    assert 0.95 < sum(data["invoke_ns"]) / 0.6e9 < 1.5
    assert len(data["end_to_end_ns"]) >= 50
    assert np.median(data["end_to_end_ns"]) > np.median(data["invoke_ns"]) > 0
    assert data["first_invoke_ns"] > 0
    assert data["load_ns"] > 0
    assert data["warmup"]["runs"] > 30
    assert data["warmup"]["seconds"] >= 0.9
    assert 10 << 20 < data["peak_rss_bytes"] < 1 << 30
    assert (data["threads"], data["capped"], data["runtime"]["name"], data["delegate"]) == (1, False, "ai-edge-litert", "xnnpack")
    phases = [state["phase"] for state in data["states"]]
    assert [phase for phase, before in zip(phases, [None, *phases]) if phase != before] == [
        *("before", "first-invoke", "warm-up", "invoke", "end-to-end", "after")
    ]
    spans = zip(*data["stages_ns"].values(), data["end_to_end_ns"])
    assert all(preprocess + set_ + get < whole for preprocess, set_, get, whole in spans)


def test_latency_counts_when_time_is_short(agent: Agent, tmp_path: Path, model: bytes, images: tuple[Any, Any]) -> None:
    release = agent.deploy("meter", contents(tmp_path, agent, model, images[0][:1]), **MANIFEST)
    data = agent.ask("probe.latency", app="meter", release=release, min_time_s=0, min_count=12, warmup_cap_s=0)
    assert (len(data["invoke_ns"]), len(data["end_to_end_ns"]), data["warmup"]["runs"]) == (12, 12, 0)
    assert data["warmup"]["steady"] is False


def test_two_releases_take_turns_in_one_process(agent: Agent, tmp_path: Path, model: bytes, images: tuple[Any, Any]) -> None:
    releases = [agent.deploy("meter", contents(tmp_path, agent, model, images[0][:1], shift), **MANIFEST) for shift in (0, 1)]
    asked = {"app": "meter", "min_time_s": 0, "min_count": 30, "warmup_cap_s": 0}
    data = agent.ask("probe.regression", releases=releases, **asked)
    assert [one["release"] for one in data["releases"]] == releases
    assert [len(one["invoke_ns"]) for one in data["releases"]] == [40, 40]  # whole blocks
    assert min(time for one in data["releases"] for time in one["invoke_ns"]) > 0
    assert {one["runtime"]["name"] for one in data["releases"]} == {"ai-edge-litert"}
    assert data["block_runs"] == 20
    assert [state["phase"] for state in data["states"]][:1] == ["before"]
    assert {state["phase"] for state in data["states"]} >= {"warm-up", "invoke", "after"}
    for wrong in (releases[:1], [releases[0]] * 2, None, [releases[0], "x"]):
        assert agent.refuse("probe.regression", releases=wrong, **asked)["kind"] == "usage"
    assert agent.refuse("probe.regression", releases=[releases[0], "0" * 64], **asked)["kind"] == "state"


def test_what_was_fed_is_told_by_its_digest(agent: Agent, tmp_path: Path, model: bytes, images: tuple[Any, Any]) -> None:
    release = agent.deploy("meter", contents(tmp_path, agent, model, images[0][:1]), **MANIFEST)

    def ask(x: Any, **more: Any) -> dict[str, Any]:
        samples.write(tmp_path / "set.npz", x)
        digest = agent.push((tmp_path / "set.npz").read_bytes())
        return agent.ask("probe.accuracy", app="meter", release=release, samples=digest, **more)

    assert ask(images[0][:4])["fed"] is None
    told = ask(images[0][:4], digests=True)
    assert len(set(told["fed"])) == 4
    assert all(len(one) == 32 for one in told["fed"])
    changed = images[0][:4].copy()
    changed[2, 0, 0, 0] ^= 0xFF
    assert [a == b for a, b in zip(told["fed"], ask(changed, digests=True)["fed"])] == [True, True, False, True]
    # As float32 with its layout, and nothing left to do: the same bytes reach the network.
    ready = [image.astype(np.float32) for image in images[0][:4]]
    again = ask(ready, digests=True, as_fed=True)
    assert (again["fed"], again["predictions"]) == (told["fed"], told["predictions"])


def test_accuracy_on_a_pushed_set(agent: Agent, tmp_path: Path, model: bytes, images: tuple[Any, Any]) -> None:
    release = agent.deploy("meter", contents(tmp_path, agent, model, images[0][:1]), **MANIFEST)
    expected, _ = infer(agent, tmp_path, model, *images)
    digest = agent.push((tmp_path / "x.npz").read_bytes())
    answer = agent.ask("probe.accuracy", app="meter", release=release, samples=digest, threads=1)
    assert (answer["n"], answer["predictions"], answer["top1"]) == (COUNT, expected["predictions"], expected["top1"])
    unknown = hashlib.sha256(b"").hexdigest()
    assert agent.refuse("probe.accuracy", app="meter", release=release, samples=unknown)["kind"] == "state"


@pytest.mark.tflite214
def test_the_old_runtime_runs_it_too(agent: Agent, archive: Path, tmp_path: Path, model: bytes, images: tuple[Any, Any]) -> None:
    """Without XNNPACK its kernels round differently: outputs may be many steps apart, so that only the predictions are compared."""
    python = os.environ.get("EDGEKIT_TFLITE_RUNTIME_PYTHON")
    if not python:
        pytest.skip("EDGEKIT_TFLITE_RUNTIME_PYTHON names no interpreter with tflite-runtime 2.14")
    old = Agent(python, archive, tmp_path / "old")
    expected, _ = infer(agent, tmp_path, model, *images)
    answer, _ = infer(old, tmp_path, model, *images)
    assert answer["runtime"] == {"name": "tflite-runtime", "version": "2.14.0"}
    assert np.mean(np.array(answer["predictions"]) == expected["predictions"]) >= 0.9
    release = old.deploy("meter", contents(tmp_path, agent, model, images[0]), **MANIFEST)
    golden = old.ask("golden", app="meter", release=release)
    assert golden["ok"], "the host's builtin kernels round as the old runtime's do"
    assert golden["max_diff"] == 0
    assert old.ask("probe.latency", app="meter", release=release, min_time_s=0, min_count=5, warmup_cap_s=0)["delegate"] is None


@pytest.mark.parametrize("change", [{"artifact": "../../../m.tflite"}, {"artifact": "other"}, {"golden": None}, {"preprocess": []}])
def test_a_manifest_that_cannot_be_used_is_refused(agent: Agent, tmp_path: Path, change: dict[str, Any]) -> None:
    files = {"model.tflite": b"\0\0\0\0TFL3", "golden/samples.npz": b"", "golden/outputs.npz": b"", "golden/builtin-outputs.npz": b""}
    release = agent.deploy("meter", files, **{**MANIFEST, **change})
    assert agent.refuse("golden", app="meter", release=release)["kind"] == "input"
