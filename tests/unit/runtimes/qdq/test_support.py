"""What becomes of nodes, and the reason given where it is not int8."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.quantize.normalise import normalise
from edgekit.runtimes import RUNTIMES, Runtime, Support
from edgekit.runtimes.qdq import OnnxRuntime, TensorRtQdq
from tests.unit.quantize.networks import fed, model, normal, run

CONSTANTS = {"w": normal(4, 4, 1, 1), "m": normal(4, 4)}
X, ROWS = "float[N,4,8,8] x", "float[N,6,4] x"


def support(runtime: Runtime, body: str, op: str, x: str) -> Support:
    """Return what becomes of the first node of an operator."""
    graph = runtime.prepare(normalise(model(body, CONSTANTS, x=x)))
    found = runtime.support(graph)
    assert set(found) == {node.name for node in graph.nodes}
    return found[next(node.name for node in graph.nodes if node.op == op)]


@pytest.mark.parametrize(
    ("body", "x", "op", "reason"),
    [
        ("a = Conv(x, w) y = Conv(a, w)", X, "Conv", ""),
        ("a = Conv(x, w) r = Relu(a) y = Conv(r, w)", X, "Relu", ""),
        ("a = Conv(x, w) b = Add(a, x) y = Conv(b, w)", X, "Add", ""),
        ("a = Conv(x, w) y = Add(a, x)", X, "Add", "nobody reads its result as integers"),
        ("a = Conv(x, w) b = Tanh(a) y = Conv(b, w)", X, "Tanh", "onnxruntime has no integer kernel"),
        ("s = Softmax(x) t = Transpose<perm = [0, 2, 1]>(s) y = Sqrt(t)", ROWS, "Transpose", "hands on the values of float nodes"),
        ("a = MatMul(x, m) t = Transpose<perm = [0, 2, 1]>(a) y = MatMul(a, t)", ROWS, "MatMul", ""),
        ("a = MatMul(x, m) i = ArgMax<axis = 2>(a) y = Cast<to = 1>(i)", ROWS, "ArgMax", "whole numbers"),
    ],
)
def test_onnxruntime(body: str, x: str, op: str, reason: str) -> None:
    found = support(OnnxRuntime(), body, op, x)
    assert reason in found.why
    assert found.precision == ("int8" if not reason else "integer" if op == "ArgMax" else "float32")


@pytest.mark.parametrize(
    ("body", "x", "op", "reason"),
    [
        ("a = Conv(x, w) b = Add(a, x) y = Conv(b, w)", X, "Add", ""),
        ("a = Conv(x, w) y = Add(a, x)", X, "Add", ""),
        ("a = MatMul(x, m) y = Add(a, x)", ROWS, "Add", "no convolution is next to it"),
        ("y = ConvTranspose(x, w)", X, "ConvTranspose", ""),
        ("a = Conv(x, w) s = Sigmoid(a) y = Conv(s, w)", X, "Sigmoid", "computes it in float"),
    ],
)
def test_tensorrt(body: str, x: str, op: str, reason: str) -> None:
    found = support(TensorRtQdq(), body, op, x)
    assert reason in found.why
    assert found.precision == ("float32" if reason else "int8")


def test_both_are_runtimes_of_targets() -> None:
    assert RUNTIMES["onnxruntime"] == "edgekit.runtimes.qdq:OnnxRuntime"
    assert RUNTIMES["tensorrt"] == "edgekit.runtimes.qdq:TensorRtQdq"


@pytest.mark.parametrize("op", ["Det", "BitShift"])
def test_what_tensorrts_parser_lacks_is_refused(op: str) -> None:
    body = {"Det": "y = Det(x)", "BitShift": 'b = BitShift<direction = "LEFT">(x, x) y = Cast<to = 1>(b)'}[op]
    found = support(TensorRtQdq(), body, op, {"Det": "float[N,4,4] x", "BitShift": "uint32[N,4] x"}[op])
    assert found == Support(None, "TensorRT's parser does not know this operator", "export the model without it")


def test_tensorrt_gets_hard_swish_spelled_out() -> None:
    graph = normalise(model("a = Conv(x, w) h = HardSwish(a) y = Conv(h, w)", CONSTANTS, x=X))
    prepared = TensorRtQdq().prepare(graph)
    assert [node.op for node in prepared.nodes] == ["Conv", "HardSigmoid", "Mul", "Conv"]
    feed = fed(graph)
    np.testing.assert_allclose(run(prepared.to_onnx(), **feed)[0], run(graph.to_onnx(), **feed)[0], rtol=1e-5, atol=1e-5)
