"""The Attention operator spelled out: with heads apart or in one row, causal, masked, scaled."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph import Array
from tests.unit.quantize.networks import checked, fed, model, ops

APART = "float[1,2,6,8] q, float[1,2,5,8] k, float[1,2,5,4] v"
FLAT = "float[1,6,16] q, float[1,5,16] k, float[1,5,8] v"
HEADS = "q_num_heads=2, kv_num_heads=2"
MASKED = np.array([[1, 0, 1, 1, 0]] * 6, bool)


@pytest.mark.parametrize(
    ("body", "x"),
    [
        ("y = Attention(q, k, v)", APART),
        ("y = Attention<scale=0.1>(q, k, v)", APART),
        ("y = Attention<is_causal=1>(q, k, v)", APART.replace(",5,", ",6,")),
        (f"y = Attention<{HEADS}>(q, k, v)", FLAT),
        (f"y = Attention<{HEADS}, is_causal=1>(q, k, v)", FLAT.replace(",5,", ",6,")),
    ],
)
def test_attention(body: str, x: str) -> None:
    graph = checked(model(body, x=x, opset=23), scale=1.0)
    assert ops(graph).count("MatMul") == 2
    assert ops(graph).count("Softmax") == 1
    assert not {"Attention", "Identity"} & set(ops(graph))


@pytest.mark.parametrize("mask", [MASKED, np.where(MASKED, np.float32(0.5), np.float32(-1e9))], ids=["truth", "added"])
def test_a_mask(mask: Array) -> None:
    graph = checked(model("y = Attention(q, k, v, mask)", x=APART, opset=23, mask=mask), scale=1.0)
    assert "Softmax" in ops(graph)
    assert min(float(array.min()) for array in graph.weights.values() if array.dtype == np.float32) == -1000.0


def test_fewer_keys_than_queries_stay() -> None:
    proto = model("y = Attention(q, k, v)", x="float[1,4,6,8] q, float[1,2,5,8] k, float[1,2,5,8] v", opset=23)
    graph = checked(proto, scale=1.0)
    assert ops(graph) == ["Attention"]
    assert set(fed(graph)) == {"q", "k", "v"}
