"""Models that are quantized already: each is refused, with a node of it named."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from edgekit.errors import InputError
from edgekit.graph import Array
from edgekit.quantize.normalise import normalise
from tests.unit.quantize.networks import model


@pytest.mark.parametrize("zero_point", [np.uint8(0), np.uint8(128), np.int8(0)])
def test_a_quantized_model_is_refused_with_the_node_named(zero_point: Array) -> None:
    """Whatever its zero points: TensorRT takes uint8 with zero point 0, and computes with it as if it were int8."""
    body = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = Relu(d)"
    with pytest.raises(InputError, match="node 'q' is a QuantizeLinear") as caught:
        normalise(model(body, {"s": np.array(0.1, np.float32), "z": np.asarray(zero_point)}))
    assert caught.value.fix == "start from the float model"


@pytest.mark.parametrize("op", ["QLinearConv", "QLinearAdd", "QLinearMatMul", "ConvInteger", "DynamicQuantizeLinear", "MatMulInteger"])
def test_operators_of_quantized_models(op: str) -> None:
    proto = model("r = Relu(x) y = Neg(r)")
    proto.graph.node[1].op_type, proto.graph.node[1].name = op, "second"
    with pytest.raises(InputError, match=f"node 'second' is a {op}: the model is already quantized"):
        normalise(proto)


def test_a_function_of_the_model_may_hold_quantized_nodes() -> None:
    """Only where it is called do they become nodes of the graph."""
    proto = parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17, "own": 1]>
        agraph (float[N,4] x) => (float[N,4] y) <float s = {0.1}, int8 z = {0}> { y = own.Rounded(x, s, z) }
        <domain: "own", opset_import: ["": 17]>
        Rounded (a, b, c) => (d) { q = QuantizeLinear(a, b, c) d = DequantizeLinear(q, b, c) }
    """)
    with pytest.raises(InputError, match="already quantized"):
        normalise(proto)
