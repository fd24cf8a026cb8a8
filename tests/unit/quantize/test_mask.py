"""Attention masks: the same softmax from constants that leave int8 its levels."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph import Array, Graph
from edgekit.quantize.mask import ENOUGH
from tests.unit.quantize.networks import checked, integers, model, normal, ops, scalars

MASKED = "float[1,2,6,6] x, int64[1,6] m"
UNSQUEEZED = "u = Unsqueeze(m, axes) c = Cast<to=1>(u)"
TRUTH = "u = Unsqueeze(m, axes) c = Cast<to=9>(u)"

SPELLINGS = {
    "one less the mask, times it": f"{UNSQUEEZED} s = Sub(one, c) k = Mul(s, huge) a = Add(x, k) y = Softmax(a)",
    "negated and subtracted": f"{UNSQUEEZED} s = Sub(one, c) k = Mul(s, huge) n = Neg(k) a = Sub(x, n) y = Softmax(a)",
    "the mask less one": f"{UNSQUEEZED} s = Sub(c, one) k = Mul(s, huge) a = Sub(x, k) y = Softmax(a)",
    "in place of the score": f"{TRUTH} a = Where(c, x, huge) y = Softmax(a)",
    "in place of the score, the other way": f"{TRUTH} n = Not(c) a = Where(n, huge, x) y = Softmax(a)",
    "chosen, then added": f"{TRUTH} w = Where(c, zero, huge) a = Add(w, x) y = Softmax(a)",
    "chosen, expanded, added, scaled": (
        f"{TRUTH} w = Where(c, zero, huge) e = Expand(w, full) a = Add(x, e) d = Div(a, eight) y = Softmax(d)"
    ),
    "bounded from below": f"{TRUTH} w = Where(c, zero, huge) a = Add(x, w) b = Max(a, huge) y = Softmax(b)",
    "shared by two": f"{TRUTH} w = Where(c, zero, huge) a = Add(x, w) p = Softmax(a) b = Add(p, w) q = Softmax(b) y = Add(p, q)",
    "guarded against rows of nothing": f"{TRUTH} w = Where(c, zero, huge) a = Add(x, w) p = Softmax(a) n = IsNaN(p) y = Where(n, zero, p)",
}
HUGE = {"float": -3.4028235e38, "infinite": -np.inf, "1e9": -1e9, "bert": -10000.0}


def least_and_greatest(graph: Graph) -> tuple[float, float]:
    values = np.concatenate(
        [array.reshape(-1) for array in graph.weights.values() if array.dtype == np.float32] + [np.zeros(1, np.float32)]
    )
    return float(values.min()), float(values.max())


def constants(body: str, huge: float) -> dict[str, Array]:
    held = {**scalars(one=1, zero=0, eight=8, huge=huge), **integers(axes=[1, 2], full=[1, 1, 6, 6])}
    return {name: array for name, array in held.items() if name in body}


def masked(body: str, huge: float) -> Graph:
    some = np.array([[1, 1, 0, 1, 0, 0]])
    return checked(model(body, constants(body, huge), x=MASKED), rtol=1e-7, scale=30.0, m=some)


# Zero times infinity is no mask.
CASES = [(body, huge) for body in SPELLINGS.values() for huge in HUGE.values() if np.isfinite(huge) or "Mul(" not in body]


@pytest.mark.parametrize(("body", "huge"), CASES)
def test_every_spelling(body: str, huge: float) -> None:
    graph = masked(body, huge)
    assert np.abs(least_and_greatest(graph)).max() <= (ENOUGH * 8 if "eight" in body else ENOUGH)
    assert "IsNaN" not in ops(graph)


@pytest.mark.parametrize("huge", HUGE.values(), ids=HUGE.keys())
def test_a_causal_mask_that_is_a_constant(huge: float) -> None:
    later = np.where(np.triu(np.ones((6, 6)), 1) > 0, np.float32(huge), np.float32(0))
    graph = checked(model("a = Add(x, later) y = Softmax(a)", x="float[1,2,6,6] x", later=later), rtol=1e-7)
    assert least_and_greatest(graph) == (-ENOUGH, 0.0)


def test_values_that_a_softmax_can_tell_stay() -> None:
    bias = normal(6, 6, scale=50.0)
    graph = checked(model("a = Add(x, bias) y = Softmax(a)", x="float[1,2,6,6] x", bias=bias))
    assert any(np.array_equal(array, bias) for array in graph.weights.values())


@pytest.mark.parametrize(
    "body",
    [
        "a = Add(x, huge) y = LogSoftmax(a)",  # shows what it masks
        "a = Add(x, huge) p = Softmax(a) y = Add(a, p)",  # the sum is seen by others
        "a = Mul(x, huge) y = Softmax(a)",  # a sharp softmax, no mask
        "a = Add(x, huge) y = Relu(a)",
    ],
)
def test_what_is_no_mask_stays(body: str) -> None:
    graph = checked(model(body, scalars(huge=-10000), x="float[1,2,6,6] x"))
    assert least_and_greatest(graph)[0] == -10000.0


def test_a_row_masked_as_a_whole_has_numbers() -> None:
    graph = masked(SPELLINGS["in place of the score"], -np.inf)
    assert "Softmax" in ops(graph)
