"""Which nodes float16 does not serve, and the reason given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from edgekit.graph import Array
from edgekit.quantize.half import MARGIN, overflowing
from edgekit.quantize.normalise import normalise
from edgekit.quantize.observe import observe, observed
from tests.unit.quantize.networks import model, normal, scalars

END = 65504 / MARGIN


def found(
    body: str, reached: Mapping[str, float] | None = None, constants: Mapping[str, Array] | None = None, *, x: str = "float[N,4,8,8] x"
) -> dict[str, str]:
    """Return the nodes named for float32; of tensors not given, the values reach 1."""
    graph, extremes = normalise(model(body, constants, x=x)), reached or {}
    return overflowing(graph, {name: (-extremes.get(name, 1.0), 0.5) for name in observed(graph)})


def test_a_node_that_reads_or_writes_what_is_too_large() -> None:
    body = "a = Tanh(x) b = Exp(a) c = Sqrt(b) y = Neg(c)"
    assert set(found(body, {"b": END * 1.01})) == {"b", "c"}
    assert not found(body, {"b": END * 0.99})


def test_the_reason_says_how_large() -> None:
    assert found("y = Exp(x)", {"y": 7e4})["y"] == "its values reach 7e+04, and float16 ends at 65504"


def test_a_tensor_that_is_tiny_as_a_whole() -> None:
    graph = normalise(model("a = Tanh(x) y = Sqrt(a)"))
    kept = overflowing(graph, {"x": (-1.0, 1.0), "a": (-1e-6, 1e-7), "y": (0.0, 1e-3)})
    assert kept == dict.fromkeys(("a", "y"), "its values do not pass 1e-06, where float16 has few bits")


def test_a_tensor_of_zeros_is_fine() -> None:
    graph = normalise(model("a = Tanh(x) y = Sqrt(a)"))
    assert not overflowing(graph, dict.fromkeys(observed(graph), (0.0, 0.0)))


@pytest.mark.parametrize(
    ("body", "constant", "reason"),
    [
        ("y = Mul(x, c)", 1e5, "its constant 'c' reaches 1e+05"),
        ("y = Add(x, c)", 1e-12, "its constant 'c' is 1e-12"),
        ("y = Add(x, c)", 1.0, ""),
        ("y = Add(x, c)", 0.0, ""),
        ("y = Max(x, c)", -3.4e38, ""),
        ("y = Max(x, c)", 1e-12, "its constant 'c' is 1e-12"),
        ("y = Max(x, c)", -np.inf, ""),
    ],
)
def test_constants(body: str, constant: float, reason: str) -> None:
    why = found(body, {}, {"c": np.array([constant, constant], np.float32)}, x="float[1,2] x").get("y", "")
    assert reason in why
    assert bool(reason) == bool(why)


def test_a_weight_with_small_values_among_others_is_fine() -> None:
    assert not found("y = Conv(x, w)", {}, {"w": normal(4, 4, 1, 1) * np.array([1, 1e-9, 1, 1], np.float32).reshape(4, 1, 1, 1)})


@pytest.mark.parametrize(
    ("body", "extremes", "reason"),
    [
        ("y = GlobalAveragePool(x)", {"y": 300.0}, "sums up to 1.92e+04"),
        ("y = GlobalAveragePool(x)", {"y": 200.0}, ""),
        ("y = AveragePool<kernel_shape = [2, 2]>(x)", {"y": 5000.0}, "sums up to 2e+04"),
        ("y = ReduceMean<axes = [3], keepdims = 1>(x)", {"y": 3000.0}, "sums up to 2.4e+04"),
        ("y = GlobalLpPool(x)", {"y": 200.0}, "sums up to 4e+04"),
        ("y = LpNormalization(x)", {"x": 100.0}, "sums up to 8e+04"),
        ("y = ReduceLogSumExp<axes = [3], keepdims = 1>(x)", {"y": 12.0}, "sums up to 1.63e+05"),
    ],
)
def test_what_is_summed_inside(body: str, extremes: Mapping[str, float], reason: str) -> None:
    why = found(body, extremes).get("y", "")
    assert reason in why
    assert bool(reason) == bool(why)


@pytest.mark.parametrize(("largest", "wanted"), [(2048, set()), (2049, {"c", "r", "t"})])
def test_whole_numbers_that_float16_does_not_have(largest: float, wanted: set[str]) -> None:
    """They stay exact until something is computed of them."""
    body = "c = Cast<to = 1>(x) r = Transpose<perm = [1, 0]>(c) t = Tanh(r) y = Exp(t)"
    kept = found(body, {"c": largest}, x="int64[N,4] x")
    assert set(kept) == wanted
    assert all(why == "its whole numbers reach 2049, and float16 has all of them up to 2048 only" for why in kept.values())


def test_what_a_clamp_cuts_off_is_no_matter() -> None:
    """Infinity is cut off as well; the tensor in front of the clamp counts as what is left of it."""
    graph = normalise(model("a = Mul(x, g) r = Relu(a) y = Tanh(r)", scalars(g=5e4)))
    feeds = [{"x": -np.abs(normal(1, 4, 8, 8))} for _ in range(2)]
    histograms = observe(graph, iter(feeds), total=2)
    assert not overflowing(graph, {name: (h.lo, h.hi) for name, h in histograms.items()})
