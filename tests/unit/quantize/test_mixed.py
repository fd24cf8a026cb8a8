from __future__ import annotations

import msgspec
import pytest

from edgekit.graph import Graph
from edgekit.plan import NodePrecision, QuantPlan
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.mixed import float_nodes, layer_names, neighbours
from edgekit.quantize.normalise import normalise
from tests.unit.quantize.networks import model, normal

BODY = """
    a = Conv<pads=[1,1,1,1]>(x, w) ra = Relu(a)
    b = Conv<pads=[1,1,1,1]>(ra, v) rb = Relu(b)
    s = Add(ra, rb)
    m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(s)
    f = Flatten(m)
    y = Gemm(f, g)
"""


@pytest.fixture(scope="module")
def graph() -> Graph:
    return normalise(model(BODY, w=normal(4, 4, 3, 3), v=normal(4, 4, 3, 3), g=normal(64, 3)))


@pytest.fixture(scope="module")
def plan(graph: Graph) -> QuantPlan:
    return calibrate(graph, [{"x": normal(4, 4, 8, 8)}], total=4, dataset_sha256=None)


def named(graph: Graph, *outputs: str) -> set[str]:
    return {graph.producers[name].name for name in outputs}


def test_layers_are_what_computes(graph: Graph, plan: QuantPlan) -> None:
    assert set(layer_names(graph, plan)) == named(graph, "a", "b", "s", "y")


def test_a_layer_in_float_already_is_none_to_choose(graph: Graph, plan: QuantPlan) -> None:
    (gemm,) = named(graph, "y")
    mixed = msgspec.structs.replace(plan, nodes={gemm: NodePrecision("float32", "no kernel")})
    assert set(layer_names(graph, mixed)) == named(graph, "a", "b", "s")


def test_neighbours_see_through_what_passes_values_on(graph: Graph, plan: QuantPlan) -> None:
    a, b, s, y = (graph.producers[name].name for name in "absy")
    assert neighbours(graph, layer_names(graph, plan)) == {a: (b, s), b: (s,), s: (y,), y: ()}


def test_a_clamp_and_a_pool_follow_the_layer_they_read(graph: Graph, plan: QuantPlan) -> None:
    a, s = (graph.producers[name].name for name in "as")
    assert float_nodes(graph, plan, [a]) == named(graph, "a", "ra")
    flat = graph.producers[graph.producers["y"].inputs[0]].name
    assert float_nodes(graph, plan, [s]) == named(graph, "s", "m") | {flat}


def test_a_concat_follows_only_when_all_it_joins_is_float() -> None:
    body = "a = Conv<pads=[1,1,1,1]>(x, w) b = Conv<pads=[1,1,1,1]>(x, v) j = Concat<axis=1>(a, b) y = Conv(j, u)"
    graph = normalise(model(body, w=normal(4, 4, 3, 3), v=normal(4, 4, 3, 3), u=normal(2, 8, 1, 1)))
    plan = calibrate(graph, [{"x": normal(2, 4, 8, 8)}], total=2, dataset_sha256=None)
    a, b, j = (graph.producers[name].name for name in "abj")
    assert float_nodes(graph, plan, [a]) == {a}
    assert float_nodes(graph, plan, [a, b]) == {a, b, j}
