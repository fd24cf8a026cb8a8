"""Whole networks, planned as a build does: onnxruntime's file at all its levels, and TensorRT's, against the model as exported."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import msgspec
import numpy as np
import onnx
import pytest

from edgekit.graph import Array
from edgekit.ondevice.tensorrt.weights import with_float_weights
from edgekit.plan import NodePrecision
from edgekit.quantize.calibrate import plan_from
from edgekit.quantize.head import mixed_outputs
from edgekit.quantize.normalise import normalise
from edgekit.quantize.observe import observe
from edgekit.runtimes import Runtime
from edgekit.runtimes.qdq import OnnxRuntime, TensorRtQdq
from tests.unit.runtimes.qdq.written import LEVELS, session_of, sqnr_db
from tests.unit.runtimes.tflite import networks
from tests.unit.runtimes.tflite.test_networks import drawn


class Wanted(NamedTuple):
    """Least SQNR of each file, and the operators of onnxruntime's that may compute in float there."""

    stored_db: float
    fused_db: float
    floats: str = ""


NETWORKS = {
    "depthwise_keywords": Wanted(41, 35, "Softmax"),
    "sequence_keywords": Wanted(32, 32),
    "segmenter": Wanted(39, 37, "Resize Sigmoid"),
    "super_resolution": Wanted(31, 35, "Tanh"),
    "squeeze_excite": Wanted(32, 33, "Div"),
    "lstm_classifier": Wanted(49, 48, "LSTM Transpose Reshape"),
    "gru_classifier": Wanted(39, 40, "GRU Transpose Reshape ReduceMean"),
    "detector": Wanted(39, 39, "Softmax Add Sub Mul Div Sigmoid Concat Split Reshape Transpose"),
    "grid_detector": Wanted(35, 34, "Add Mul Sigmoid Concat Split Reshape"),
    "encoder": Wanted(33, 32, "Add Sub Mul Div Cast Gelu LayerNormalization ReduceSum Reshape Softmax"),
}


class Emitted(NamedTuple):
    data: bytes
    feeds: list[dict[str, Array]]
    floats: set[str]
    wanted: list[Array]


@cache
def emitted(name: str, kind: type[OnnxRuntime] | type[TensorRtQdq]) -> Emitted:
    runtime: Runtime = kind()
    proto = getattr(networks, name)()
    graph = runtime.prepare(normalise(proto))
    feeds = drawn(graph)
    support = runtime.support(graph)
    kept = {node: one.why for node, one in support.items() if one.precision == "float32"}
    histograms = observe(graph, feeds, total=len(feeds))
    plan = plan_from(graph, histograms, total=len(feeds), method="mse", dataset_sha256=None, scheme=runtime.scheme)
    kept |= mixed_outputs(graph, plan.ranges)
    plan = msgspec.structs.replace(plan, nodes={node: NodePrecision("float32", why) for node, why in kept.items()})
    data = runtime.emit(graph, plan, io_dtype="float32", layout="as-is").data
    onnx.checker.check_model(onnx.load_model_from_string(data), full_check=True)
    floats = {node.op for node in graph.nodes if support[node.name].precision == "float32"}
    return Emitted(data, feeds, floats, run(proto.SerializeToString(), feeds))


def run(data: bytes, feeds: list[dict[str, Array]], level: str = "ORT_DISABLE_ALL") -> list[Array]:
    session = session_of(data, level)
    return [session.run(None, feed)[0] for feed in feeds]


@pytest.mark.parametrize("name", NETWORKS)
def test_for_onnxruntime(name: str) -> None:
    file = emitted(name, OnnxRuntime)
    assert file.floats <= set(NETWORKS[name].floats.split())
    plain = run(file.data, file.feeds)
    for level in LEVELS[1:]:
        assert sqnr_db(plain, run(file.data, file.feeds, level)) > 50, level
    assert sqnr_db(file.wanted, plain) > NETWORKS[name].stored_db


@pytest.mark.parametrize("name", NETWORKS)
def test_for_tensorrt(name: str) -> None:
    """Its levels differ more: onnxruntime rounds the float biases of a file that is not for it."""
    file = emitted(name, TensorRtQdq)
    plain = run(file.data, file.feeds)
    assert sqnr_db(file.wanted, plain) > NETWORKS[name].fused_db
    assert sqnr_db(plain, run(file.data, file.feeds, "ORT_ENABLE_ALL")) > 35


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_written_out_change_no_answer(name: str) -> None:
    """As the board does it for TensorRT before 10: the integers are the same again."""
    file = emitted(name, TensorRtQdq)
    spread = with_float_weights(file.data)
    proto = onnx.load_model_from_string(spread)
    onnx.checker.check_model(proto, full_check=True)
    integers = [tensor.name for tensor in proto.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert all("zero_point" in name for name in integers)
    for plain, got in zip(run(file.data, file.feeds), run(spread, file.feeds), strict=True):
        np.testing.assert_array_equal(got, plain)
