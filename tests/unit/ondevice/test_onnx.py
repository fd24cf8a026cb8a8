"""The same jobs on an .onnx file, in onnxruntime: a small network with a convolution between its roundings, and ids beside the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice import samples

from .conftest import Agent
from .onnxrelease import GOLDEN, MANIFEST, images

np = pytest.importorskip("numpy")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

NETWORK = """
    xq = QuantizeLinear(x, s, z) xd = DequantizeLinear(xq, s, z)
    wd = DequantizeLinear<axis = 0>(w, ws, wz) c = Conv(xd, wd)
    cq = QuantizeLinear(c, t, z) cd = DequantizeLinear(cq, t, z)
    g = GlobalAveragePool(cd) y = Flatten(g)
"""


def model(batch: str = "1", body: str = NETWORK) -> bytes:
    graph = "g (float[" + batch + ",3,8,8] x) => (float[" + batch + ",5] y) {" + body + "}"
    proto = onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 17]> ' + graph)
    generator = np.random.default_rng(1)
    constants = {
        "s": np.float32(1.0),
        "t": np.float32(4.0),
        "z": np.uint8(0),
        "w": generator.integers(-127, 128, (5, 3, 3, 3)).astype(np.int8),
        "ws": np.full(5, 0.01, np.float32),
        "wz": np.zeros(5, np.int8),
    }
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    data: bytes = proto.SerializeToString()
    return data


def infer(agent: Agent, folder: Path, artifact: bytes, x: Any, *, builtin: bool = False) -> tuple[dict[str, Any], list[Any]]:
    (folder / "m.onnx").write_bytes(artifact)
    samples.write(folder / "x.npz", x)
    paths = {"artifact": str(folder / "m.onnx"), "samples": str(folder / "x.npz"), "outputs": str(folder / "out.npz")}
    answer = agent.ask("infer", preprocess={"layout": "nchw"}, threads=1, builtin=builtin, **paths)
    return answer, [output["x"] for output in samples.read(folder / "out.npz")]


def contents(folder: Path, agent: Agent) -> dict[str, bytes]:
    files = {"model.onnx": model()}
    for key, builtin in (("outputs", False), ("builtin_outputs", True)):
        infer(agent, folder, model(), images(4), builtin=builtin)
        files[GOLDEN[key]] = (folder / "out.npz").read_bytes()
    return {**files, GOLDEN["samples"]: (folder / "x.npz").read_bytes()}


@pytest.mark.parametrize("builtin", [False, True])
def test_infer_says_what_onnxruntime_says(agent: Agent, tmp_path: Path, builtin: bool) -> None:
    x = images(6)
    answer, outputs = infer(agent, tmp_path, model(), x, builtin=builtin)
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_DISABLE_ALL if builtin else levels.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(model(), options, providers=["CPUExecutionProvider"])
    for image, output in zip(x, outputs):
        wanted = session.run(None, {"x": image.transpose(2, 0, 1)[None].astype(np.float32)})[0]
        assert np.array_equal(wanted, output)
    assert answer["inputs"] == [{"name": "x", "dtype": "float32", "scale": None, "zero_point": None, "shape": [1, 3, 8, 8]}]
    assert answer["outputs"] == [{"name": "y", "dtype": "float32", "scale": None, "zero_point": None, "shape": [1, 5]}]
    assert answer["runtime"] == {"name": "onnxruntime", "version": onnxruntime.__version__}


@pytest.mark.parametrize(
    ("artifact", "kind", "words"),
    [
        (model()[:-20], "runtime-failed", "onnxruntime does not open"),
        (model("N"), "input", "tensors of fixed sizes"),
        (model(body="y = Nonsense(x)"), "runtime-failed", "onnxruntime does not open"),
        (b"\x0b no model", "input", "neither a .tflite nor an .onnx file"),
    ],
    ids=["torn", "open batch", "unknown operator", "something else"],
)
def test_what_cannot_run_is_refused(agent: Agent, tmp_path: Path, artifact: bytes, kind: str, words: str) -> None:
    (tmp_path / "m.onnx").write_bytes(artifact)
    samples.write(tmp_path / "x.npz", images(1))
    paths = {"artifact": str(tmp_path / "m.onnx"), "samples": str(tmp_path / "x.npz"), "outputs": str(tmp_path / "out.npz")}
    refused = agent.refuse("infer", preprocess={"layout": "nchw"}, **paths)
    assert refused["kind"] == kind
    assert words in refused["message"]


def test_a_release_is_checked_and_measured(agent: Agent, tmp_path: Path) -> None:
    release = agent.deploy("meter", contents(tmp_path, agent), **MANIFEST)
    golden = agent.ask("golden", app="meter", release=release)
    assert (golden["ok"], golden["count"], golden["max_diff"]) == (True, 4, 0)
    data = agent.ask("probe.latency", app="meter", release=release, min_time_s=0, min_count=12, warmup_cap_s=0)
    assert len(data["invoke_ns"]) == len(data["end_to_end_ns"]) == 12
    assert (data["runtime"]["name"], data["delegate"], data["load_ns"] > 0) == ("onnxruntime", None, True)


def test_facts_tell_of_it(agent: Agent) -> None:
    found = {entry["name"]: entry for entry in agent.ask("facts")["runtimes"]}["onnxruntime"]
    assert found == {"kind": "onnxruntime", "name": "onnxruntime", "version": onnxruntime.__version__, "lock": None, "error": None}
