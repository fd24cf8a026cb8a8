from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekit.graph import Array, Graph
from edgekit.plan import NodePrecision, QuantPlan
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.equalise import equalise
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


def test_the_mean_error_of_rounded_weights_is_gone(graph: Graph, plan: QuantPlan) -> None:
    coarse = {name: msgspec.structs.replace(held, scales=tuple(8 * s for s in held.scales)) for name, held in plan.weights.items()}
    wide = msgspec.structs.replace(plan, weights=coarse)
    options = Recovery(weight_ranges=False, rounding=False, bias=True)
    corrected = recover(graph, wide, samples, options=options).graph
    weight = graph.nodes[0].inputs[1]
    plain = graph.with_nodes(graph.nodes, weights={**graph.weights, weight: on_grid(graph.weights[weight], coarse[weight])})

    def mean_error(found: Graph) -> float:
        """Of the first layer: what it reads is exact, so its error is its own."""
        made = found.nodes[0].outputs[0]
        errors = [run(found.to_onnx([made]), **x)[-1] - run(graph.to_onnx([made]), **x)[-1] for x in samples()]
        return float(np.abs(np.mean(errors, axis=(0, 1, 3, 4))).max())

    assert mean_error(corrected) < 0.15 * mean_error(plain)


@pytest.mark.parametrize("between", ["r = Relu(c)", "r = Identity(c)"])
def test_a_network_made_hard_on_purpose_is_won_back(between: str) -> None:
    """Channels from a hundredth to a hundred times as wide: what int8 loses comes back but for a few decibels."""
    tenfold = np.float32(10.0) ** np.linspace(-2, 2, 8, dtype=np.float32)
    easy = {"w": normal(8, 4, 3, 3), "b": normal(8), "u": normal(8, 8, 1, 1), "v": normal(8, 5)}
    hard = {**easy, "w": easy["w"] * tenfold.reshape(-1, 1, 1, 1), "b": easy["b"] * tenfold, "u": easy["u"] / tenfold.reshape(1, -1, 1, 1)}
    body = f"c = Conv(x, w, b) {between} d = Conv(r, u) e = Relu(d) p = GlobalAveragePool(e) f = Flatten(p) y = Gemm(f, v)"
    quality = {}
    for name, weights in {"easy": easy, "hard": hard}.items():
        graph = normalise(model(body, weights))
        for treated in (False, True):
            found = equalise(graph, samples) if treated else graph
            plan = calibrate(found, samples(), total=len(SAMPLES), dataset_sha256=None)
            done = recover(found, plan, samples, options=None if treated else Recovery(weight_ranges=False, rounding=False, bias=False))
            quality[name, treated] = sqnr_db(done.graph, graph, done.plan)
    assert quality["hard", False] < 15 < 30 < quality["hard", True]
    assert quality["hard", True] > quality["easy", True] - 3


def test_one_sample_is_enough_to_run(graph: Graph, plan: QuantPlan) -> None:
    one = msgspec.structs.replace(plan, samples=1)
    done = recover(graph, one, lambda: [{"x": SAMPLES[:1]}])
    assert sqnr_db(done.graph, graph, done.plan) > 15


MEMORY = """
import msgspec, re
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.equalise import equalise
from edgekit.quantize.normalise import normalise
from edgekit.quantize.recover import recover
from tests.unit.quantize.networks import model, normal

weights = {"w": normal(32, 16, 3, 3), "k": normal(32, 1, 3, 3), "u": normal(16, 32, 1, 1)}
body = "a = Conv(x, w) b = Relu(a) c = Conv<group=32>(b, k) d = Relu(c) y = Conv(d, u)"
graph = normalise(model(body, weights, x="float[N,16,96,96] x"))
sample = normal(1, 16, 96, 96)

def peak_mib(count):
    samples = lambda: ({"x": sample * (1 + i % 7)} for i in range(count))
    found = equalise(graph, samples)
    recover(found, calibrate(found, samples(), total=count, dataset_sha256=None), samples)
    return int(re.search(r'VmHWM:\\s+([0-9]+)', open('/proc/self/status').read())[1]) / 1024

peak_mib(30)
print(peak_mib(30), peak_mib(300))
"""


def test_memory_does_not_grow_with_the_samples() -> None:
    """Keeping what 270 samples more make, 3 MiB each, would show as 800 MiB."""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", MEMORY], cwd=root, capture_output=True, text=True, check=True)
    few, many = (float(word) for word in done.stdout.split())
    assert many - few < 0.1 * few
