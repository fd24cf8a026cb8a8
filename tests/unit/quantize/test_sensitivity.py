"""Rankings on networks whose sore spot is known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec
import numpy as np

from edgekit.graph import Array, Graph
from edgekit.plan import NodePrecision, QuantPlan
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.mixed import float_nodes
from edgekit.quantize.normalise import normalise
from edgekit.quantize.sensitivity import Quantized, ranking
from tests.unit.quantize.networks import model, normal

CHAIN = "a = Conv<pads=[1,1,1,1]>(x, w) b = Conv<pads=[1,1,1,1]>(a, v) c = Conv<pads=[1,1,1,1]>(b, u) y = Conv<pads=[1,1,1,1]>(c, t)"
SAMPLES = [{"x": normal(1, 4, 8, 8, scale=1.0)} for _ in range(6)]


def kernels() -> dict[str, Array]:
    return {name: normal(4, 4, 3, 3, scale=0.2) for name in "wvut"}


def quantizer(graph: Graph) -> Quantized:
    plan = calibrate(graph, SAMPLES, total=len(SAMPLES), method="minmax", dataset_sha256=None)

    def quantized(kept: Sequence[str]) -> tuple[Graph, QuantPlan]:
        nodes = {name: NodePrecision("float32", "kept") for name in float_nodes(graph, plan, kept)}
        return graph, msgspec.structs.replace(plan, nodes=nodes)

    return quantized


def test_a_tensor_with_an_outlier_channel_is_freed_by_both_its_ends_first() -> None:
    weights = kernels()
    # b's channel 0 is a thousand times the others, and c takes that back: the others drown in one scale.
    weights["v"][0] *= 1000
    weights["u"][:, 0] /= 1000
    graph = normalise(model(CHAIN, weights))
    first = next(ranking(graph, quantizer(graph), SAMPLES))
    assert set(first.layers) == {graph.producers["b"].name, graph.producers["c"].name}
    assert first.share > 0.9
    assert "%" in first.why


def test_a_layer_whose_weights_round_badly_comes_first_and_alone() -> None:
    weights = kernels()
    # One huge weight per output that meets an input which is zero: it takes the scale and gives nothing.
    weights["v"][:, 3, 1, 1] = 300.0
    weights["w"][3] = 0.0
    graph = normalise(model(CHAIN, weights))
    first = next(ranking(graph, quantizer(graph), SAMPLES))
    assert first.layers == (graph.producers["b"].name,)
    assert first.share > 0.9


def test_every_layer_comes_once_and_in_the_end_nothing_is_lost() -> None:
    graph = normalise(model(CHAIN, kernels()))
    stages: list[tuple[str, int, int]] = []
    steps = list(ranking(graph, quantizer(graph), SAMPLES, progress=lambda *stage: stages.append(stage)))
    names = list(itertools.chain.from_iterable(step.layers for step in steps))
    assert sorted(names) == sorted(node.name for node in graph.nodes)
    assert len(set(names)) == len(names)
    # What is left with every layer in float is nothing: the input is read as it is.
    assert abs(sum(step.share for step in steps) - 1.0) < 1e-6
    assert stages[0][0] == "rank layers"
    assert stages[-1][1] == stages[-1][2]
    assert steps == list(ranking(graph, quantizer(graph), SAMPLES))


def test_a_network_that_loses_nothing_has_no_ranking() -> None:
    graph = normalise(model("y = Relu(x)", x="float[N,4] x"))
    samples = [{"x": np.array([[0.0, 255.0, 17.0, 3.0]], np.float32)}]
    plan = calibrate(graph, samples, total=1, method="minmax", dataset_sha256=None)
    assert list(ranking(graph, lambda _: (graph, plan), samples)) == []
