from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.graph import Array, Graph
from edgekit.quantize.basis import fitted_basis
from edgekit.quantize.channel import shared_channels
from edgekit.quantize.equalise import HEADROOM, equalise
from edgekit.quantize.normalise import normalise
from tests.unit.quantize.networks import model, normal, run

SAMPLES = normal(12, 4, 8, 8, scale=1.0)
TENFOLD = np.float32(10.0) ** np.array([-2, -1, 0, 1, 2, 0], np.float32)
"""How wide the channels of a network made hard on purpose are."""


def of(samples: Array) -> Callable[[], Iterator[dict[str, Array]]]:
    return lambda: ({"x": sample[None]} for sample in samples)


def spread_of(graph: Graph, name: str) -> float:
    """Return how many times wider the widest channel of a tensor is than the narrowest."""
    values = np.concatenate([run(graph.to_onnx([name]), x=sample[None])[-1] for sample in SAMPLES])
    largest = np.abs(np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)).max(axis=1)
    return float(largest.max() / largest.min())


def scaled(weight: Array, *, out: bool) -> Array:
    made: Array = weight * TENFOLD.reshape(-1, 1, 1, 1) if out else weight / TENFOLD.reshape(1, -1, 1, 1)
    return made


RELU = "c = Conv(x, w, b) r = Relu(c) y = Conv<pads=[1,1,1,1]>(r, v)"
POOL = "c = Conv(x, w, b) r = LeakyRelu<alpha=0.1>(c) p = MaxPool<kernel_shape=[2,2]>(r) g = GlobalAveragePool(p) y = Conv(g, u)"
RESIDUAL = "c = Conv(x, w, b) r = Relu(c) d = Conv(r, m) s = Add(d, r) q = Relu(s) y = Conv(q, u)"
DEPTHWISE = "c = Conv(x, w, b) r = Relu(c) y = Conv<group=6, pads=[1,1,1,1]>(r, k)"
TRANSPOSED = "c = ConvTranspose<strides=[2,2]>(x, t, b) r = Relu(c) y = Conv(r, u)"
HARD: dict[str, tuple[str, dict[str, Array], str]] = {
    "relu": (RELU, {"v": scaled(normal(3, 6, 3, 3), out=False)}, "r"),
    "pooling": (POOL, {"u": scaled(normal(3, 6, 1, 1), out=False)}, "p"),
    "sum": (
        RESIDUAL,
        {"m": scaled(scaled(normal(6, 6, 1, 1), out=False), out=True), "u": scaled(normal(3, 6, 1, 1), out=False)},
        "q",
    ),
    "depthwise": (DEPTHWISE, {"k": normal(6, 1, 3, 3) / TENFOLD.reshape(-1, 1, 1, 1)}, "r"),
    "transposed": (TRANSPOSED, {"t": normal(4, 6, 2, 2) * TENFOLD.reshape(1, -1, 1, 1), "u": scaled(normal(3, 6, 1, 1), out=False)}, "r"),
}


@pytest.mark.parametrize("name", HARD)
def test_channels_of_unlike_width_come_closer_and_the_network_stays_what_it_was(name: str) -> None:
    body, weights, tensor = HARD[name]
    graph = normalise(model(body, {"w": scaled(normal(6, 4, 1, 1), out=True), "b": normal(6) * TENFOLD, **weights}))
    made = equalise(graph, of(SAMPLES))
    assert spread_of(made, tensor) < 100 < spread_of(graph, tensor)
    for sample in SAMPLES:
        (wanted,), (got,) = run(graph.to_onnx(), x=sample[None]), run(made.to_onnx(), x=sample[None])
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    assert [node.outputs for node in made.nodes] == [node.outputs for node in graph.nodes]


def test_between_linear_layers_means_go_and_channels_are_mixed() -> None:
    widths = TENFOLD[1:4].reshape(-1, 1, 1, 1)
    weights = {"w": normal(3, 4, 1, 1) * widths, "b": TENFOLD[1:4] * 5, "u": normal(8, 3, 1, 1) / widths.transpose(1, 0, 2, 3)}
    graph = normalise(model("c = Conv(x, w, b) d = Conv(c, u) y = Relu(d)", weights))
    made = equalise(graph, of(SAMPLES))
    values = np.concatenate([run(made.to_onnx(["c"]), x=sample[None])[-1] for sample in SAMPLES])
    means, deviations = values.mean(axis=(0, 2, 3)), values.std(axis=(0, 2, 3))
    assert np.abs(means).max() < 0.01 * deviations.min()
    np.testing.assert_allclose(deviations, deviations.mean(), rtol=0.01)
    (wanted,), (got,) = run(graph.to_onnx(), x=SAMPLES[:1]), run(made.to_onnx(), x=SAMPLES[:1])
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * wanted.max())


def test_a_linear_residual_stream_is_one_set_of_channels() -> None:
    weights = {"w": normal(6, 4, 1, 1), "b": normal(6) + 3, "m": normal(6, 6, 1, 1), "f": normal(6) - 2, "u": normal(8, 6, 1, 1)}
    graph = normalise(model("c = Conv(x, w, b) d = Conv(c, m, f) s = Add(c, d) e = Conv(s, u) y = Relu(e)", weights))
    (shared,) = shared_channels(graph)
    assert (set(shared.axes), shared.mixable, shared.shiftable) == ({"c", "d", "s"}, True, True)
    made = equalise(graph, of(SAMPLES))
    for name in ("c", "d", "s"):
        values = np.concatenate([run(made.to_onnx([name]), x=sample[None])[-1] for sample in SAMPLES])
        np.testing.assert_allclose(values.mean(axis=(0, 2, 3)), 0, atol=0.01 * values.std())
    (wanted,), (got,) = run(graph.to_onnx(), x=SAMPLES[:1]), run(made.to_onnx(), x=SAMPLES[:1])
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * wanted.max())


def test_padding_keeps_the_means_where_they_are() -> None:
    graph = normalise(
        model("c = Conv(x, w, b) y = Conv<pads=[1,1,1,1]>(c, u)", w=normal(6, 4, 1, 1), b=normal(6) + 5, u=normal(3, 6, 3, 3))
    )
    made = equalise(graph, of(SAMPLES))
    assert made.sha256 != graph.sha256
    (wanted,), (got,) = run(graph.to_onnx(), x=SAMPLES[:1]), run(made.to_onnx(), x=SAMPLES[:1])
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_below_a_ceiling_channels_grow_only_as_far_as_they_fit() -> None:
    bias = np.array([0.1, 9.0, 0.2, 0.3, 0.1, 0.2], np.float32)
    weights = {
        "w": normal(6, 4, 1, 1, scale=0.02),
        "b": bias,
        "k": normal(6, 1, 3, 3),
        "lo": np.array(0, np.float32),
        "hi": np.array(6, np.float32),
    }
    graph = normalise(model("c = Conv(x, w, b) r = Clip(c, lo, hi) y = Conv<group=6>(r, k)", weights))
    made = equalise(graph, of(SAMPLES))
    values = np.concatenate([run(made.to_onnx(["r"]), x=sample[None])[-1] for sample in SAMPLES])
    largest = np.moveaxis(values, 1, 0).reshape(6, -1).max(axis=1)
    assert largest[1] == 6.0
    np.testing.assert_allclose(np.delete(largest, 1), 6.0 / HEADROOM, rtol=1e-3)
    # Twice as far as the calibration went, it still is the same network.
    wide = np.sign(SAMPLES[:1]) * np.abs(SAMPLES).max()
    (wanted,), (got,) = run(graph.to_onnx(), x=wide), run(made.to_onnx(), x=wide)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


LEFT_ALONE = {
    "the input and the output": "c = Conv(x, w, b) y = Relu(c)",
    "another nonlinearity": "c = Conv(x, w, b) r = Sigmoid(c) y = Conv(r, u)",
    "a reader that is no layer": "c = Conv(x, w, b) r = Relu(c) t = Conv(r, u) s = Sin(r) y = Concat<axis=1>(s, t)",
    "a clip that others than depthwise layers read": "c = Conv(x, w, b) r = Clip(c, lo, hi) y = Conv(r, u)",
    "a shared weight": "c = Conv(x, w, b) r = Relu(c) z = Sin(x) d = Conv(z, w, b) s = Relu(d) q = Add(r, s) y = Conv(q, u)",
}


@pytest.mark.parametrize("body", LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_what_cannot_be_undone_is_left_alone(body: str) -> None:
    weights: dict[str, Array] = {"w": scaled(normal(6, 4, 1, 1), out=True), "b": normal(6), "u": scaled(normal(3, 6, 1, 1), out=False)}
    if "Clip" in body:
        weights |= {"lo": np.array(0, np.float32), "hi": np.array(6, np.float32)}
    graph = normalise(model(body, weights))
    assert equalise(graph, of(SAMPLES)) is graph


def test_a_layer_normalisation_gives_its_gain_to_the_products_behind_it() -> None:
    body = "n = LayerNormalization<axis=-1>(x, g, h) q = MatMul(n, w) a = Add(q, b) k = MatMul(n, v) y = Concat<axis=-1>(a, k)"
    gain = np.array([0.01, 0.1, 1, 10, 100, 1, 1, 1], np.float32)
    weights: dict[str, Array] = {
        "g": gain,
        "h": normal(8) * gain,
        "w": normal(8, 5) / gain[:, None],
        "v": normal(8, 3) / gain[:, None],
        "b": normal(5),
    }
    graph = normalise(model(body, weights, x="float[N,4,8] x"))
    samples = normal(6, 4, 8)
    made = equalise(graph, of(samples))
    (shared,) = [found for found in shared_channels(graph) if found.makers[0].node.op == "LayerNormalization"]
    name = next(iter(shared.axes))

    def decades(graph: Graph) -> float:
        values = run(graph.to_onnx([name]), x=samples[:1])[-1].reshape(-1, 8)
        return float(np.ptp(np.log10(np.abs(values).max(axis=0))))

    assert decades(made) < 1.5 < decades(graph)
    (wanted,), (got,) = run(graph.to_onnx(), x=samples[:1]), run(made.to_onnx(), x=samples[:1])
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dead", [(0,), (0, 1, 2, 3, 4, 5)])
def test_channels_of_zeros_do_no_harm(dead: tuple[int, ...]) -> None:
    weight: Array = scaled(normal(6, 4, 1, 1), out=True)
    weight[list(dead)] = 0
    for body in (RELU, RELU.replace("Relu(c)", "Identity(c)")):
        graph = normalise(model(body, w=weight, b=np.zeros(6, np.float32), v=normal(3, 6, 3, 3)))
        made = equalise(graph, of(SAMPLES[:1]))
        (wanted,), (got,) = run(graph.to_onnx(), x=SAMPLES[:1]), run(made.to_onnx(), x=SAMPLES[:1])
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5)


def test_without_samples_there_is_no_spread() -> None:
    graph = normalise(model(RELU, w=normal(6, 4, 1, 1), b=normal(6), v=normal(3, 6, 3, 3)))
    with pytest.raises(InputError, match="no calibration samples"):
        equalise(graph, of(SAMPLES[:0]))


def test_the_fitted_basis_is_the_best_there_is() -> None:
    factor, rows = normal(6, 6).astype(np.float64), normal(9, 6).astype(np.float64)
    covariance, amplification = factor @ factor.T, rows.T @ rows
    forward, inverse = fitted_basis(covariance, amplification)
    np.testing.assert_allclose(forward @ inverse, np.eye(6), atol=1e-6)
    powers = np.diag(forward @ covariance @ forward.T)
    np.testing.assert_allclose(powers, powers.mean(), rtol=1e-5)
    bound = np.sqrt(np.abs(np.linalg.eigvals(covariance @ amplification))).sum() ** 2 / 6
    assert powers.max() * np.trace(inverse.T @ amplification @ inverse) == pytest.approx(bound, rel=1e-3)
