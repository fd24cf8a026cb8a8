from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from edgekit.graph import Array, Graph
from edgekit.plan import NodePrecision, QuantPlan
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.normalise import normalise
from edgekit.quantize.recover import Recovered, Recovery, keep, recover
from edgekit.quantize.simulate import on_grid, session, simulate
from tests.unit.quantize.networks import model, normal, run

BODY = """
c = Conv<pads=[1,1,1,1]>(x, w) r = Relu(c) d = Conv<pads=[1,1,1,1], group=6>(r, k, b) t = ConvTranspose<strides=[2,2]>(d, u)
f = Flatten(t) g = Gemm(f, v, e) y = MatMul(g, m)
"""
SAMPLES = normal(24, 4, 8, 8, scale=1.0) + 1


@pytest.fixture(scope="module")
def graph() -> Graph:
    weights = {"w": normal(6, 4, 3, 3), "k": normal(6, 1, 3, 3), "b": normal(6), "u": normal(6, 3, 2, 2)}
    return normalise(model(BODY, weights, v=normal(768, 10), e=normal(10), m=normal(10, 5)))


@pytest.fixture(scope="module")
def plan(graph: Graph) -> QuantPlan:
    return calibrate(graph, samples(), total=len(SAMPLES), dataset_sha256=None)


def samples() -> Iterator[dict[str, Array]]:
    for sample in SAMPLES:
        yield {"x": sample[None]}


def sqnr_db(found: Graph, original: Graph, plan: QuantPlan) -> float:
    runner = session(simulate(found, plan))
    wanted = np.concatenate([run(original.to_onnx(), x=x["x"])[0] for x in samples()])
    got = np.concatenate([runner.run(None, x)[0] for x in samples()])
    return 10 * math.log10(float((wanted**2).sum() / ((wanted - got) ** 2).sum()))


def test_weights_are_on_the_grid_of_the_plan(graph: Graph, plan: QuantPlan) -> None:
    done = recover(graph, plan, samples)
    assert done.original is graph
    for name, scale in done.plan.weights.items():
        np.testing.assert_allclose(done.graph.weights[name], on_grid(done.graph.weights[name], scale), rtol=1e-6)
        assert not np.array_equal(done.graph.weights[name], graph.weights[name])


@pytest.mark.parametrize("option", ["weight_ranges", "rounding", "bias"])
def test_every_technique_is_used_alone_and_told(graph: Graph, plan: QuantPlan, option: str) -> None:
    options = Recovery(**{**dict.fromkeys(("weight_ranges", "rounding", "bias"), False), option: True})
    done = recover(graph, plan, samples, options=options)
    assert done.plan.recovery == (option,)
    assert (done.plan.weights != plan.weights) == (option == "weight_ranges")
    assert sqnr_db(done.graph, graph, done.plan) > sqnr_db(graph, graph, plan) - 1


def test_nothing_is_done_without_a_technique(graph: Graph, plan: QuantPlan) -> None:
    done = recover(graph, plan, samples, options=Recovery(weight_ranges=False, rounding=False, bias=False))
    assert (done.graph, done.plan) == (graph, plan)


def test_two_runs_are_the_same_to_the_last_bit(graph: Graph, plan: QuantPlan) -> None:
    first, second = recover(graph, plan, samples), recover(graph, plan, samples)
    assert first.graph.sha256 == second.graph.sha256
    assert msgspec.json.encode(first.plan) == msgspec.json.encode(second.plan)


def test_a_kept_node_gets_its_float_weights_and_bias_back(graph: Graph, plan: QuantPlan) -> None:
    done = recover(graph, plan, samples)
    name = graph.nodes[0].name
    kept = keep(done, {name: NodePrecision("float32", "for the test")})
    assert kept.plan.precision(name) == "float32"
    before, after = {n.name: n for n in graph.nodes}, {n.name: n for n in kept.graph.nodes}
    assert after[name] == before[name]
    assert np.array_equal(kept.graph.weights[before[name].inputs[1]], graph.weights[before[name].inputs[1]])
    everything = keep(done, {node.name: NodePrecision("float32", "for the test") for node in graph.nodes})
    assert everything.graph.sha256 == graph.sha256


def test_a_node_kept_from_the_start_is_left_alone(graph: Graph, plan: QuantPlan) -> None:
    name = graph.nodes[0].name
    done: Recovered = recover(graph, msgspec.structs.replace(plan, nodes={name: NodePrecision("float32", "for the test")}), samples)
    assert done.graph.nodes[0] == graph.nodes[0]
    assert np.array_equal(done.graph.weights[graph.nodes[0].inputs[1]], graph.weights[graph.nodes[0].inputs[1]])
