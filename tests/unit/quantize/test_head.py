"""Outputs that mix units: found by the observed ranges, in every shape of detection head."""

from __future__ import annotations

import pytest

from edgekit.graph import Graph
from edgekit.plan import Range
from edgekit.quantize.head import UNITS_DIFFER, mixed_outputs
from edgekit.quantize.normalise import normalise
from tests.unit.quantize.networks import integers, model, normal

HEAD = "b = Conv(x, wb) r = Relu(b) s = Conv(x, wc) c = Sigmoid(s)"
WEIGHTS = {"wb": normal(4, 4, 1, 1), "wc": normal(3, 4, 1, 1)}


def head(tail: str, y: str = "float[] y", **more: list[int]) -> Graph:
    return normalise(model(f"{HEAD} {tail}", {**WEIGHTS, **integers(**more)}, y=y))


def ranges(graph: Graph, boxes: float = 640.0, scores: float = 1.0) -> dict[str, Range]:
    widths = dict.fromkeys(graph.activations, boxes)
    for node in graph.nodes:
        if node.op == "Sigmoid" or (node.inputs[0] in widths and node.op in ("Reshape", "Transpose", "Slice")):
            widths[node.outputs[0]] = scores if node.op == "Sigmoid" else widths[node.inputs[0]]
    return {name: Range(0.0, width, "minmax") for name, width in widths.items()}


def found(graph: Graph, **widths: float) -> list[str]:
    names = mixed_outputs(graph, ranges(graph, **widths))
    assert list(names) == [node.name for node in graph.nodes if node.name in names]
    return [node.op for node in graph.nodes if node.name in names]


def test_boxes_and_scores_in_one_output() -> None:
    graph = head("y = Concat<axis=1>(r, c)")
    assert found(graph) == ["Concat"]
    ((name, why),) = mixed_outputs(graph, ranges(graph)).items()
    assert graph.producers["y"].name == name
    assert why == "it joins 'r' (0..640) and 'c' (0..1): one scale cannot hold both"


def test_the_moves_behind_are_kept_too_but_not_those_before() -> None:
    tail = "f = Reshape(r, flat) g = Reshape(c, flat) j = Concat<axis=1>(f, g) y = Transpose<perm=[0,2,1]>(j)"
    assert found(head(tail, flat=[1, -1, 64])) == ["Concat", "Transpose"]


def test_levels_joined_of_joints() -> None:
    tail = "j = Concat<axis=1>(r, c) f = Reshape(j, flat) k = Concat<axis=1>(c, r) g = Reshape(k, flat) y = Concat<axis=2>(f, g)"
    graph = head(tail, flat=[1, 7, 64])
    assert found(graph) == ["Concat", "Reshape", "Concat", "Reshape", "Concat"]


@pytest.mark.parametrize(("boxes", "wanted"), [(UNITS_DIFFER, []), (UNITS_DIFFER * 1.01, ["Concat"]), (0.2, ["Concat"]), (0.0, [])])
def test_how_much_they_may_differ(boxes: float, wanted: list[str]) -> None:
    assert found(head("y = Concat<axis=1>(r, c)"), boxes=boxes) == wanted


def test_joints_that_others_compute_with_are_not_outputs() -> None:
    assert found(head("j = Concat<axis=1>(r, c) y = Sin(j)")) == []
    assert found(head("j = Concat<axis=1>(r, c) k = Reshape(j, flat) y = Add(k, k)", flat=[1, -1])) == []


def test_outputs_apart_need_nothing() -> None:
    assert found(head("z = Identity(c)", y="float[] r, float[] c")) == []
