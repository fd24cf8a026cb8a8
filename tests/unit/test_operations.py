"""Multiply-accumulates, each counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.operations import macs
from edgekit.quantize.normalise import normalise
from tests.unit.quantize.networks import model, normal


@pytest.mark.parametrize(
    ("body", "weight", "wanted"),
    [
        # 8 x 8 places, 6 outputs, 4 inputs, 3 x 3.
        ("y = Conv<pads=[1,1,1,1]>(x, w)", (6, 4, 3, 3), 64 * 6 * 4 * 9),
        ("y = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w)", (6, 4, 3, 3), 16 * 6 * 4 * 9),
        # Depthwise: each channel by itself.
        ("y = Conv<pads=[1,1,1,1], group=4>(x, w)", (4, 1, 3, 3), 64 * 4 * 9),
        ("y = ConvTranspose<strides=[2,2]>(x, w)", (4, 6, 2, 2), 64 * 4 * 6 * 4),
        ("f = Flatten(x) y = Gemm(f, w)", (256, 10), 256 * 10),
        ("f = Flatten(x) y = Gemm<transB=1>(f, w)", (10, 256), 256 * 10),
        ("y = MatMul(x, w)", (8, 5), 4 * 8 * 8 * 5),
    ],
)
def test_one_operator(body: str, weight: tuple[int, ...], wanted: int) -> None:
    assert list(macs(normalise(model(body, w=normal(*weight)))).values()) == [wanted]


def test_a_product_of_two_computed_tensors() -> None:
    graph = normalise(model("t = Transpose<perm=[0,1,3,2]>(x) s = Sin(t) y = MatMul(x, s)"))
    (node,) = [node for node in graph.nodes if node.op == "MatMul"]
    assert macs(graph) == {node.name: 4 * 8 * 8 * 8}


def test_other_operators_are_absent() -> None:
    graph = normalise(model("c = Conv(x, w) r = Relu(c) y = Add(r, k)", w=normal(4, 4, 1, 1), k=np.full((1, 1, 1, 1), 2.0, np.float32)))
    assert set(macs(graph)) == {node.name for node in graph.nodes if node.op == "Conv"}
