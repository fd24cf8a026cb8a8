from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph import Array, Graph
from edgekit.quantize import moments as moments_module
from edgekit.quantize.layer import Layer, layers
from edgekit.quantize.moments import Gatherer, blocks, in_memory
from edgekit.quantize.normalise import normalise
from edgekit.quantize.patch import patches, positions
from tests.unit.quantize.networks import model, normal, run

CASES: dict[str, tuple[str, str, dict[str, Array]]] = {
    "conv": ("y = Conv<pads=[1,2,0,1], strides=[2,1], dilations=[1,2]>(x, w, b)", "float[N,4,8,8] x", {"w": normal(6, 4, 3, 2)}),
    "pointwise": ("y = Conv(x, w, b)", "float[N,4,8,8] x", {"w": normal(6, 4, 1, 1)}),
    "one dimension": ("y = Conv<pads=[2,2]>(x, w, b)", "float[N,4,9] x", {"w": normal(6, 4, 3)}),
    "groups": ("y = Conv<group=2>(x, w, b)", "float[N,4,8,8] x", {"w": normal(6, 2, 3, 3)}),
    "depthwise": ("y = Conv<group=3, pads=[1,1,1,1]>(x, w, b)", "float[N,3,8,8] x", {"w": normal(6, 1, 3, 3)}),
    "transposed": ("y = ConvTranspose<strides=[2,3], pads=[1,0,0,1]>(x, w, b)", "float[N,4,5,5] x", {"w": normal(4, 6, 3, 3)}),
    "transposed groups": ("y = ConvTranspose<group=2, strides=[2,2]>(x, w, b)", "float[N,4,5,5] x", {"w": normal(4, 3, 3, 3)}),
    "gemm": ("y = Gemm<alpha=0.5, beta=2.0>(x, w, b)", "float[N,4] x", {"w": normal(4, 6)}),
    "gemm transposed": ("y = Gemm<transB=1>(x, w, b)", "float[N,4] x", {"w": normal(6, 4)}),
    "matmul": ("m = MatMul(x, w) y = Add(m, b)", "float[N,3,4] x", {"w": normal(4, 6)}),
}


def case(name: str) -> tuple[Graph, Layer, Array]:
    body, x, weights = CASES[name]
    graph = normalise(model(body, {**weights, "b": normal(6)}, x=x))
    (layer,) = layers(graph)
    return graph, layer, normal(*graph.inputs[0].shape)


@pytest.mark.parametrize("name", CASES)
def test_rows_times_patches_are_what_the_layer_computes(name: str) -> None:
    graph, layer, x = case(name)
    seen = run(graph.to_onnx([layer.x]), x=x)
    read = x if layer.x == graph.inputs[0].name else seen[-1]
    found = patches(graph, layer, read, 10_000, np.random.default_rng(0))
    assert found.shape == (layer.groups, layer.taps, positions(graph, layer))
    rows = layer.rows(graph.weights[layer.weight])
    got = layer.gain * (rows @ found).reshape(layer.groups * layer.outputs, -1) + layer.offsets(graph)[:, None]
    wanted = seen[0].reshape(-1, 6).T if not layer.convolves else seen[0].reshape(6, -1)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_rows_and_weights_are_the_same_numbers(name: str) -> None:
    graph, layer, _ = case(name)
    weight = graph.weights[layer.weight]
    assert np.array_equal(layer.weight_of(layer.rows(weight), weight), weight)


@pytest.mark.parametrize("name", ["pointwise", "groups", "matmul"])
def test_moments_are_those_of_all_patches_together(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments_module, "_HELD_COLUMNS", (20, 20))
    graph, layer, _ = case(name)
    # A large mean beside a small variance, which sums of squares in float32 would lose.
    inputs = [normal(*graph.shapes[layer.x]) + 1000 for _ in range(7)]
    gatherer = Gatherer(graph, [layer], 7)
    for x in inputs:
        gatherer.add({layer.x: x})
    seen = gatherer.take(layer)
    found = np.concatenate([patches(graph, layer, x, 10_000, np.random.default_rng(0)) for x in inputs], axis=2).astype(np.float64)
    assert seen.count == found.shape[2]
    np.testing.assert_allclose(seen.mean, found.mean(axis=2), rtol=1e-6)
    (covariance,) = seen.covariances
    np.testing.assert_allclose(covariance, [np.cov(group, bias=True) for group in found], rtol=1e-3, atol=1e-4)


def test_long_rows_are_cut_and_layers_go_in_runs_that_fit() -> None:
    assert blocks(10) == (slice(0, 10),)
    cuts = blocks(4608)
    assert [cut.stop - cut.start for cut in cuts] == [1536] * 3
    graph = normalise(
        model(
            "a = Gemm(x, v) r = Relu(a) b = Gemm(r, w) s = Relu(b) y = Gemm(s, u)",
            x="float[N,8] x",
            v=normal(8, 8),
            w=normal(8, 8),
            u=normal(8, 8),
        )
    )
    found = layers(graph)
    assert [len(run) for run in in_memory(found, 2 * 4 * 64)] == [2, 1]
    assert [len(run) for run in in_memory(found, 1)] == [1, 1, 1]


def test_of_many_samples_each_gives_fewer_positions() -> None:
    graph = normalise(model("y = Conv(x, w)", x="float[N,4,64,64] x", w=normal(6, 4, 3, 3)))
    counts = {}
    for samples in (10, 100):
        gatherer = Gatherer(graph, layers(graph), samples)
        for _ in range(samples):
            gatherer.add({"x": normal(1, 4, 64, 64)})
        counts[samples] = gatherer.take(layers(graph)[0]).count
    assert counts[10] == pytest.approx(counts[100], rel=0.2)
