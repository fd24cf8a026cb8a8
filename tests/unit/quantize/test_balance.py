"""Channels evened out where int8 meets float: the same network, with less noise in int8."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from edgekit.graph import Array, Graph
from edgekit.plan import NodePrecision
from edgekit.quantize.balance import balance
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.normalise import normalise
from edgekit.quantize.simulate import session, simulate
from tests.unit.quantize.networks import model, normal, ops, run

WIDTH = 32
SAMPLES = normal(24, 1, 6, WIDTH, scale=1.0)
GAIN = np.ones(WIDTH, np.float32)
LOUD = GAIN.copy()
LOUD[[3, 17]] = 40.0
BODY = (
    "n = LayerNormalization(x, g, s) h = MatMul(n, w) c = Add(h, b) r = Relu(c) d = MatMul(r, v) e = Add(d, a) "
    "z = Add(e, n) y = LayerNormalization(z, k, s)"
)


def samples() -> Iterator[dict[str, Array]]:
    return ({"x": sample} for sample in SAMPLES)


def network(gain: Array = GAIN, out: Array = GAIN, body: str = BODY) -> Graph:
    """A feed-forward block between two normalisations; ``gain`` of the first one, and of the last product's outputs."""
    weights = {"w": normal(WIDTH, 64), "b": normal(64), "v": normal(64, WIDTH) * out, "a": normal(WIDTH) * out}
    proto = model(body, {**weights, "g": gain, "s": np.zeros(WIDTH, np.float32), "k": GAIN}, x=f"float[N,6,{WIDTH}] x")
    return normalise(proto)


def floats(graph: Graph) -> set[str]:
    """What a runtime without an int8 normalisation keeps in float: that, and the sums and products beside it."""
    return {node.name for node in graph.nodes if node.op in ("LayerNormalization", "Mul", "Add")}


def noise_db(graph: Graph, original: Graph) -> float:
    plan = calibrate(graph, samples(), total=len(SAMPLES), method="minmax", dataset_sha256=None)
    moves = {node.name for node in graph.nodes if node.op == "Reshape"}
    kept = {name: NodePrecision("float32", "asked") for name in floats(graph) | moves}
    runner = session(simulate(graph, msgspec.structs.replace(plan, nodes=kept)))
    wanted = np.concatenate([run(original.to_onnx(), **sample)[0] for sample in samples()])
    got = np.concatenate([runner.run(None, sample)[0] for sample in samples()])
    return 10 * math.log10(float((wanted**2).sum() / ((wanted - got) ** 2).sum()))


@pytest.mark.parametrize(
    ("gain", "out", "made"),
    [(LOUD, GAIN, {"even"}), (GAIN, LOUD, {"restore"}), (LOUD, LOUD, {"even", "restore"})],
    ids=["into", "out of", "both"],
)
def test_loud_channels_are_evened_out(gain: Array, out: Array, made: set[str]) -> None:
    graph = network(gain, out)
    evened = balance(graph, samples, floats(graph))
    assert {node.name.rpartition("/")[2] for node in evened.nodes if node.op == "Mul"} >= made
    for sample in samples():
        wanted, got = run(graph.to_onnx(), **sample)[0], run(evened.to_onnx(), **sample)[0]
        np.testing.assert_allclose(got, wanted, atol=1e-5 * float(np.abs(wanted).max()))
    assert noise_db(evened, graph) > noise_db(graph, graph) + 3


def test_even_channels_are_left_alone() -> None:
    graph = network()
    assert balance(graph, samples, floats(graph)) is graph


def test_nothing_is_done_between_int8_nodes() -> None:
    graph = network(LOUD, LOUD)
    assert balance(graph, samples, set()) is graph
    # Its output goes to an int8 node as well.
    shared = network(
        GAIN, LOUD, BODY.replace("y = LayerNormalization(z, k, s)", "q = Relu(e) l = LayerNormalization(z, k, s) y = Add(l, q)")
    )
    assert balance(shared, samples, floats(shared)) is shared


def test_layers_that_read_one_tensor_share_one_product() -> None:
    body = "n = LayerNormalization(x, g, s) q = MatMul(n, w) k1 = MatMul(n, u) p = Mul(q, k1) y = Add(p, p)"
    weights = {"w": normal(WIDTH, 8), "u": normal(WIDTH, 8), "g": LOUD, "s": np.zeros(WIDTH, np.float32)}
    graph = normalise(model(body, weights, x=f"float[N,6,{WIDTH}] x"))
    kept = {node.name for node in graph.nodes if node.op == "LayerNormalization"}
    evened = balance(graph, samples, kept)
    assert ops(evened).count("Mul") == ops(graph).count("Mul") + 1
    for sample in samples():
        np.testing.assert_allclose(run(evened.to_onnx(), **sample)[0], run(graph.to_onnx(), **sample)[0], rtol=1e-3, atol=1e-3)


def test_a_channel_that_is_never_seen_keeps_a_scale() -> None:
    gain = LOUD.copy()
    gain[5] = 0.0
    graph = network(gain)
    evened = balance(graph, samples, floats(graph))
    assert all(np.isfinite(values).all() for values in evened.weights.values() if values.dtype == np.float32)
    np.testing.assert_allclose(run(evened.to_onnx(), x=SAMPLES[0])[0], run(graph.to_onnx(), x=SAMPLES[0])[0], atol=1e-4)
