from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph import Array
from edgekit.quantize.normalise import normalise
from edgekit.quantize.weights import channel_axis, weight_scales
from tests.unit.quantize.networks import model, normal

CASES = {
    "conv": ("y = Conv(x, w)", "float[N,4,8,8] x", normal(6, 4, 3, 3), 0),
    "depthwise": ("y = Conv<group=4>(x, w)", "float[N,4,8,8] x", normal(4, 1, 3, 3), 0),
    "transposed": ("y = ConvTranspose(x, w)", "float[N,4,8,8] x", normal(4, 6, 3, 3), 1),
    "gemm": ("y = Gemm(x, w)", "float[N,4] x", normal(4, 6), 1),
    "gemm transposed": ("y = Gemm<transB=1>(x, w)", "float[N,4] x", normal(6, 4), 0),
    "matmul": ("y = MatMul(x, w)", "float[N,3,4] x", normal(4, 6), 1),
}


@pytest.mark.parametrize("name", CASES)
def test_one_symmetric_scale_per_output_channel(name: str) -> None:
    body, x, weight, axis = CASES[name]
    graph = normalise(model(body, x=x, w=weight))
    found = next((channel for node in graph.nodes if (channel := channel_axis(graph, node))), None)
    assert found is not None
    scales = weight_scales(graph)[found[0]]
    assert scales.axis == axis == found[1]
    held = graph.weights[found[0]]
    largest = np.moveaxis(np.abs(held), axis, 0).reshape(held.shape[axis], -1).max(axis=1)
    np.testing.assert_allclose(scales.scales, largest / 127, rtol=1e-6)


@pytest.mark.parametrize("dead", [0.0, 1e-42])
def test_a_channel_of_zeros_gets_a_usable_scale(dead: float) -> None:
    weight: Array = normal(3, 4, 1, 1)
    weight[1] = dead
    (scales,) = weight_scales(normalise(model("y = Conv(x, w)", w=weight))).values()
    assert min(scales.scales) > 1e-30
    assert np.abs(weight[1] / scales.scales[1]).max() <= 127


def test_a_weight_read_along_two_axes_gets_one_scale() -> None:
    weight = normal(4, 4)
    graph = normalise(model("a = Gemm(x, w) y = Gemm<transB=1>(a, w)", x="float[N,4] x", w=weight))
    (scales,) = weight_scales(graph).values()
    assert scales.axis is None
    assert scales.scales == pytest.approx((float(np.abs(weight).max()) / 127,))


def test_products_of_computed_tensors_and_other_constants_have_none() -> None:
    assert weight_scales(normalise(model("a = Add(x, w) y = MatMul(a, x)", x="float[N,4,4] x", w=normal(4, 4)))) == {}
