"""The arithmetic of bench/quantization, and the conversion that one of its models goes through."""

from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.quantization import result, table, tflite_onnx
from bench.quantization.case import CASES
from bench.quantization.environment import ENVIRONMENTS, versions
from bench.quantization.feed import Samples
from bench.quantization.peer import PEERS, RUNTIMES
from bench.quantization.result import Cost, Result
from bench.quantization.runtimes.litert import as_taken, entry_of
from bench.quantization.score import Score, ratio, score, sqnr_db
from edgekit import lazy
from edgekit.plan import NodePrecision
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.normalise import normalise
from edgekit.runtimes import RUNTIMES as EMITTERS
from edgekit.runtimes import Runtime


def test_score_counts_what_is_right_and_what_changed() -> None:
    reference = np.array([[9, 0], [9, 0], [0, 9], [0, 9]], np.float32)
    got = np.array([[9, 0], [0, 9], [0, 9], [9, 0]], np.float32)
    judged = score(reference, got, np.array([0, 0, 0, 1]))
    assert (judged.samples, judged.float_top1, judged.top1, judged.disagreement) == (4, 75.0, 25.0, 50.0)
    with pytest.raises(ValueError, match="labels"):
        score(reference, got, np.array([0]))


def test_sqnr_is_a_ratio_of_powers() -> None:
    signal = np.full((2, 50), 10, np.float32)
    assert sqnr_db(signal, signal + 1) == pytest.approx(20)
    assert sqnr_db(signal, signal) == math.inf


def test_ratio_pairs_the_rounds() -> None:
    # A machine that gets three times as slow changes both sides of a round.
    assert ratio([2.0, 6.0, 2.0], [4.0, 12.0, 4.0]) == 0.5


def test_samples_are_read_one_by_one_with_a_batch_axis(tmp_path: Path) -> None:
    ids, x = np.arange(12).reshape(4, 3), np.arange(32, dtype=np.float32).reshape(4, 2, 2, 2)
    np.save(tmp_path / "ids.npy", ids)
    np.save(tmp_path / "x.npy", x)
    samples = list(Samples(tmp_path, 3))
    assert len(samples) == len(Samples(tmp_path, 3)) == 3
    np.testing.assert_array_equal(np.concatenate([sample["ids"] for sample in samples]), ids[:3])
    np.testing.assert_array_equal(np.concatenate([sample["x"] for sample in samples]), x[:3])
    with pytest.raises(ValueError, match="holds 4"):
        Samples(tmp_path, 5)


def test_an_input_is_quantized_transposed_and_named_as_the_file_wants_it() -> None:
    detail = {"shape": np.array([1, 2, 2, 3]), "dtype": np.int8, "quantization": (0.5, -128)}
    taken = as_taken(detail, np.full((1, 3, 2, 2), 10, np.float32))
    assert taken.shape == (1, 2, 2, 3)
    assert set(taken.ravel().tolist()) == {-108}
    assert entry_of("ids", {"serving_default_ids:0": detail, "serving_default_mask:0": detail}) == "serving_default_ids:0"
    assert entry_of("ids", {"input": detail}) == "input"
    with pytest.raises(ValueError, match="which of"):
        entry_of("ids", {"a": detail, "b": detail})


def test_a_float_tflite_becomes_the_onnx_model_it_says(tmp_path: Path) -> None:
    model = _network()
    runtime: Runtime = lazy.load(EMITTERS["tflite"])()
    graph = runtime.prepare(normalise(model))
    generator = np.random.default_rng(1)
    samples = [generator.standard_normal((1, 3, 8, 8), dtype=np.float32) for _ in range(4)]
    plan = calibrate(graph, ({"x": x} for x in samples), total=4, dataset_sha256=None)
    plan = msgspec.structs.replace(plan, nodes={node.name: NodePrecision("float32", "the test wants a float file") for node in graph.nodes})
    (tmp_path / "float.tflite").write_bytes(runtime.emit(graph, plan, io_dtype="float32", layout="nhwc").data)
    converted = tflite_onnx.convert(tmp_path / "float.tflite")
    wanted, got = (onnxruntime.InferenceSession(proto.SerializeToString()) for proto in (model, converted))
    for x in samples:
        np.testing.assert_allclose(got.run(None, {got.get_inputs()[0].name: x})[0], wanted.run(None, {"x": x})[0], atol=1e-5)


def _network() -> onnx.ModelProto:
    """Return what ``tflite_onnx`` knows: SAME padding, which is uneven here, a sum, a pool, a vector, a softmax."""
    generator = np.random.default_rng(0)
    shapes = {"k": (6, 3, 3, 3), "b": (6,), "k2": (4, 6, 2, 2), "b2": (4,), "w": (5, 4), "b3": (5,)}
    weights = {name: generator.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["conv"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("Add", ["relu", "relu"], ["sum"]),
        helper.make_node("AveragePool", ["sum"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["pool", "k2", "b2"], ["conv2"], kernel_shape=[2, 2]),
        helper.make_node("Flatten", ["conv2"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b3"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["y"]),
    ]
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    leave = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])
    held = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    body = helper.make_graph(nodes, "classifier", [entry], [leave], held)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_has_a_driver_an_environment_and_a_runtime(name: str) -> None:
    peer = PEERS[name]
    assert (Path(table.__file__).parent / "peers" / f"{peer.driver}.py").is_file()
    assert peer.environment is None or versions(peer.environment)
    assert peer.runtime is None or peer.runtime in RUNTIMES
    assert set(peer.models) <= set(CASES)
    assert {*RUNTIMES.values(), *(p.environment for p in PEERS.values() if p.environment)} <= set(ENVIRONMENTS)


def test_the_table_tells_figures_failures_and_the_median_cost(tmp_path: Path) -> None:
    folder = tmp_path / "resnet20"
    folder.mkdir()
    costs = [Cost(seconds=seconds, cpu_s=2 * seconds, import_s=1, wall_s=9, peak_mib=200) for seconds in (3.0, 1.0, 2.0)]
    good = Result("resnet20", "edgekit-tflite", 100, "k", costs, "artifact.tflite", "d", 300_000, Score(2000, 91.65, 91.5, 0.75, 28.3))
    bad = Result("resnet20", "modelopt", 100, "k", error="no Python 3.11 here")
    for found in (good, bad):
        result.write(folder / f"{found.peer}.json", found)
        assert result.read(folder / f"{found.peer}.json") == found
    seconds = {"float": [2.0, 4.0], "edgekit-tflite": [1.0, 2.0]}
    (folder / "latency-litert.json").write_text(json.dumps({"key": "k", "seconds": seconds}), encoding="utf-8")
    page = table.document(tmp_path, 100)
    assert "| | edgekit, TFLite | 91.50 | +0.15 | 0.75 | 28.3 | 2.0 | 4.0 | 200 | 0.30 | 0.50 |" in page
    assert "| | ModelOpt | no Python 3.11 here |" in page
    assert "edgekit, TFLite" not in table.document(tmp_path, 1000)
