"""Ranges of masked scores: levels for the scores, one for the mask."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph import Array, Graph
from edgekit.plan import QuantPlan
from edgekit.quantize.attention import NOTHING
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.normalise import normalise
from edgekit.quantize.simulate import session, simulate
from tests.unit.quantize.networks import integers, model, normal, run, scalars

SCORES = "q = MatMul(x, a) k = MatMul(x, b) kt = Transpose<perm=[0,2,1]>(k) s = MatMul(q, kt)"
TERM = "u = Unsqueeze(m, one) c = Cast<to=1>(u) n = Sub(unit, c) t = Mul(n, huge)"
TRUTH = "u = Unsqueeze(m, one) c = Cast<to=9>(u)"
LAST = "p = Softmax(w) y = MatMul(p, x)"

SPELLINGS = {
    "added": f"{SCORES} {TERM} w = Add(s, t) {LAST}",
    "put in place": f"{SCORES} {TRUTH} w = Where(c, s, huge) {LAST}",
    "the other way round": f"{SCORES} {TRUTH} f = Not(c) w = Where(f, huge, s) {LAST}",
    "added, then reshaped and scaled": f"{SCORES} {TERM} z = Add(t, s) r = Reshape(z, wide) d = Div(r, two) w = Reshape(d, full) {LAST}",
    "bounded": f"{SCORES} {TERM} z = Add(s, t) w = Max(z, huge) {LAST}",
}


def planned(body: str) -> tuple[Graph, QuantPlan, list[dict[str, Array]]]:
    held = {
        "a": normal(8, 8, scale=0.3),
        "b": normal(8, 8, scale=0.3),
        **scalars(unit=1, huge=-3.4e38, two=2),
        **integers(one=[1], wide=[1, 36], full=[1, 6, 6]),
    }
    used = {name: array for name, array in held.items() if f", {name}" in body or f"({name}" in body}
    graph = normalise(model(body, used, x="float[N,6,8] x, int64[N,6] m"))
    feeds: list[dict[str, Array]] = [{"x": normal(1, 6, 8, scale=1.5), "m": np.array([[1] * n + [0] * (6 - n)])} for n in (2, 3, 4, 6) * 4]
    return graph, calibrate(graph, feeds, total=len(feeds), dataset_sha256=None), feeds


def into_softmax(graph: Graph) -> str:
    return next(node.inputs[0] for node in graph.nodes if node.op == "Softmax")


@pytest.mark.parametrize("body", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_mask_takes_one_level(body: str) -> None:
    graph, plan, feeds = planned(body)
    wide = plan.ranges[into_softmax(graph)]
    assert wide.method == "softmax"
    assert -60 < wide.lo < -NOTHING
    assert wide.hi < 60
    runner = session(simulate(graph, plan))
    exact = [run(graph.to_onnx(), **feed)[0] for feed in feeds]
    noise = sum(float(((one - runner.run(None, feed)[0]) ** 2).sum()) for one, feed in zip(exact, feeds, strict=True))
    assert 10 * np.log10(sum(float((one**2).sum()) for one in exact) / noise) > 25


def test_a_mask_of_minus_a_hundred_that_is_a_constant() -> None:
    """As Swin transformers have it, beside a bias."""
    hidden = np.where(np.eye(6, dtype=bool), np.float32(0), np.float32(-100)) + normal(6, 6, scale=0.3)
    body = f"{SCORES} w = Add(s, hidden) {LAST}"
    graph = normalise(model(body, {"a": normal(8, 8), "b": normal(8, 8), "hidden": hidden}, x="float[N,6,8] x"))
    feeds = [{"x": normal(1, 6, 8)} for _ in range(8)]
    plan = calibrate(graph, feeds, total=8, dataset_sha256=None)
    assert plan.ranges[into_softmax(graph)].lo > -40


def test_scores_without_a_mask_keep_their_range() -> None:
    body = f"{SCORES} w = Add(s, bias) {LAST}"
    graph = normalise(model(body, {"a": normal(8, 8), "b": normal(8, 8), "bias": normal(6, 6)}, x="float[N,6,8] x"))
    feeds = [{"x": normal(1, 6, 8)} for _ in range(8)]
    assert {one.method for one in calibrate(graph, feeds, total=8, method="mse", dataset_sha256=None).ranges.values()} == {"mse"}
