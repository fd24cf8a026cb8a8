"""Loud hidden channels go apart: the same network, with less noise in the quiet ones."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from edgekit.graph import Array, Graph
from edgekit.plan import NodePrecision
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.normalise import normalise
from edgekit.quantize.separate import separate
from edgekit.quantize.simulate import session, simulate
from tests.unit.quantize.networks import model, normal, ops, run

WIDTH, HIDDEN = 16, 64
LOUD = [3, 40]
SAMPLES = normal(24, 1, 6, WIDTH, scale=1.0)


def samples() -> Iterator[dict[str, Array]]:
    return ({"x": sample} for sample in SAMPLES)


def network(activation: str = "Gelu(c)", loud: float = 30.0, *, opset: int = 20, behind: str = "y = Add(e, x)") -> Graph:
    """A feed-forward block and what its result is added to; some hidden channels are louder than the others."""
    weights = {"w": normal(WIDTH, HIDDEN), "b": normal(HIDDEN), "v": normal(HIDDEN, WIDTH), "a": normal(WIDTH)}
    weights["w"][:, LOUD] *= loud
    weights["v"][LOUD] /= loud
    body = f"h = MatMul(x, w) c = Add(h, b) r = {activation} d = MatMul(r, v) e = Add(d, a) {behind}"
    return normalise(model(body, weights, x=f"float[N,6,{WIDTH}] x", opset=opset))


def sums(graph: Graph) -> set[str]:
    return {node.name for node in graph.nodes if node.op == "Add"}


def noise_db(graph: Graph, original: Graph) -> float:
    plan = calibrate(graph, samples(), total=len(SAMPLES), method="minmax", dataset_sha256=None)
    kept = {node.name: NodePrecision("float32", "asked") for node in graph.nodes if node.op in ("Add", "Reshape")}
    runner = session(simulate(graph, msgspec.structs.replace(plan, nodes=kept)))
    wanted = np.concatenate([run(original.to_onnx(), **sample)[0] for sample in samples()])
    got = np.concatenate([runner.run(None, sample)[0] for sample in samples()])
    return 10 * math.log10(float((wanted**2).sum() / ((wanted - got) ** 2).sum()))


@pytest.mark.parametrize("activation", ["Gelu(c)", "Relu(c)", "HardSwish(c)", "LeakyRelu<alpha=0.1>(c)"])
def test_loud_channels_go_apart(activation: str) -> None:
    graph = network(activation)
    apart, new = separate(graph, samples, sums(graph))
    assert ops(apart).count("Gemm") == 4
    assert new == {"y/loud"}
    assert sorted(apart.shapes[name][0] for name in apart.weights if name.endswith("/loud/weight")) == [8, WIDTH]
    for sample in samples():
        wanted = run(graph.to_onnx(), **sample)[0]
        np.testing.assert_allclose(run(apart.to_onnx(), **sample)[0], wanted, atol=1e-5 * float(np.abs(wanted).max()))
    assert noise_db(apart, graph) > noise_db(graph, graph) + 3


@pytest.mark.parametrize(
    ("graph", "in_float"),
    [
        (network(loud=1.0), True),
        # What the block is added to is int8.
        (network(), False),
        # The hidden tensor is the output too, and the block's result is read twice.
        (network(behind="z = Relu(r) f = Add(e, x) y = Concat<axis=2>(f, z)"), True),
        (network(behind="f = Add(e, x) g = Sigmoid(e) y = Mul(f, g)"), True),
        # Nothing works value by value between the layers.
        (network("Softmax(c)"), True),
    ],
    ids=["even", "int8", "hidden read twice", "result read twice", "softmax"],
)
def test_others_stay_whole(graph: Graph, in_float: bool) -> None:
    same, new = separate(graph, samples, sums(graph) if in_float else set())
    assert same is graph
    assert not new
