from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, parser

from edgekit.errors import InputError
from edgekit.graph import Array, from_onnx
from edgekit.model import TensorSpec
from tests.unit.quantize.networks import model, normal, run

TWO_BRANCHES = "c = Conv(x, w) r = Relu(c) s = Sin(c) y = Add(r, s)"


def static(body: str, **weights: Array) -> onnx.ModelProto:
    return model(body, weights, x="float[1,4,8,8] x")


def test_a_model_survives_the_way_there_and_back() -> None:
    proto = static(TWO_BRANCHES, w=normal(6, 4, 3, 3))
    graph = from_onnx(proto)
    x = normal(1, 4, 8, 8)
    assert np.array_equal(run(proto, x=x)[0], run(graph.to_onnx(), x=x)[0])
    onnx.checker.check_model(graph.to_onnx(), full_check=True)
    assert from_onnx(graph.to_onnx()).sha256 == graph.sha256


def test_what_a_graph_says_of_itself() -> None:
    graph = from_onnx(static(TWO_BRANCHES, w=normal(6, 4, 3, 3)))
    assert graph.opset == 17
    assert graph.inputs == (TensorSpec("x", "float32", (1, 4, 8, 8)),)
    assert graph.outputs == (TensorSpec("y", "float32", (1, 6, 6, 6)),)
    assert graph.activations == ("x", "c", "r", "s", "y")
    assert graph.producers["c"].op == "Conv"
    assert [node.op for node in graph.consumers["c"]] == ["Relu", "Sin"]
    assert "y" not in graph.consumers


def test_constants_of_every_spelling_are_weights() -> None:
    constants = "a = Constant<value_float=2.0>() b = Constant<value_ints=[1,4,64]>() c = Constant<value=float[1] {3.0}>()"
    graph = from_onnx(static(f"{constants} d = Mul(x, a) e = Add(d, c) y = Reshape(e, b)"))
    assert {name: array.dtype.name for name, array in graph.weights.items()} == {"a": "float32", "b": "int64", "c": "float32"}
    assert graph.activations == ("x", "d", "e", "y")


def test_inner_tensors_are_exposed_after_the_outputs() -> None:
    graph = from_onnx(static(TWO_BRANCHES, w=normal(6, 4, 3, 3)))
    assert [value.name for value in graph.to_onnx(["c", "x", "y"]).graph.output] == ["y", "c"]


def test_without_their_reader_constants_go() -> None:
    graph = from_onnx(static("a = Add(x, w) y = Mul(a, v)", w=normal(1), v=normal(1)))
    assert set(graph.with_nodes(graph.nodes[:1]).weights) == {"w"}


def test_nodes_get_unique_names() -> None:
    proto = static("a = Sin(x) b = Sin(a) y = Sin(b)")
    for node, name in zip(proto.graph.node, ("same", "same", ""), strict=True):
        node.name = name
    assert [node.name for node in from_onnx(proto).nodes] == ["same", "same_2", "y"]


def test_the_digest_follows_the_weights() -> None:
    weight = normal(6, 4, 3, 3)
    other = weight.copy()
    other.flat[0] += 1
    assert from_onnx(static(TWO_BRANCHES, w=weight)).sha256 != from_onnx(static(TWO_BRANCHES, w=other)).sha256


def test_what_a_graph_cannot_hold() -> None:
    with pytest.raises(InputError, match="'x' is not static"):
        from_onnx(model("y = Relu(x)"))
    with pytest.raises(InputError, match="contradict"):
        from_onnx(static("y = MatMul(x, w)", w=normal(5, 5)))
    foreign = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17, "com.acme": 1]> g (float[1,4] x) => (float[1,4] y) { y = com.acme.Magic(x) }'
    )
    with pytest.raises(InputError, match=r"com\.acme::Magic"):
        from_onnx(foreign)


def test_an_unknown_output_shape_is_not_taken_for_a_scalar() -> None:
    proto = static("s = Relu(x) y = Reshape(s, t)")
    proto.graph.input.append(helper.make_tensor_value_info("t", onnx.TensorProto.INT64, [2]))
    with pytest.raises(InputError, match="'y' is not static"):
        from_onnx(proto)
