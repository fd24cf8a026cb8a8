from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edgekit.errors import UsageError
from edgekit.graph import Array
from edgekit.plan import Range, Scheme, symmetric_int8
from edgekit.quantize.histogram import Histogram
from edgekit.quantize.ranges import DEFAULT_METHOD, METHODS, Method, choose_range

generator = np.random.default_rng(11)
NORMAL = generator.standard_normal(200_000).astype(np.float32)
RELU = np.maximum(NORMAL, 0)
SKEWED = np.concatenate([NORMAL[:100_000] * 0.2, np.abs(NORMAL[100_000:]) * 4]).astype(np.float32)
OUTLIERS = np.concatenate([NORMAL, np.array([60.0, -45.0], np.float32)])
UNIFORM = generator.uniform(-1, 3, 200_000).astype(np.float32)
SAMPLES = {"normal": NORMAL, "relu": RELU, "skewed": SKEWED, "outliers": OUTLIERS, "uniform": UNIFORM}


def true_error(values: Array, lo: float, hi: float) -> float:
    """Mean squared error of 8-bit quantization, on the values themselves."""
    scale = (hi - lo) / 255
    zero = np.rint(-lo / scale)
    return float(np.mean((values - (np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale) ** 2))


def test_minmax_is_exact() -> None:
    chosen = choose_range(Histogram.of(OUTLIERS), "minmax")
    assert (chosen.lo, chosen.hi, chosen.method) == (-45.0, 60.0, "minmax")


@pytest.mark.parametrize("name", SAMPLES)
def test_percentile_agrees_with_the_quantiles_to_a_bin(name: str) -> None:
    histogram = Histogram.of(SAMPLES[name])
    chosen = choose_range(histogram, "percentile")
    lo, hi = np.quantile(SAMPLES[name], [0.00005, 0.99995])
    assert abs(chosen.lo - min(lo, 0)) <= histogram.width + 1e-3 * abs(lo)
    assert abs(chosen.hi - hi) <= histogram.width + 1e-3 * abs(hi)


@pytest.mark.parametrize("name", [*SAMPLES, "one far side"])
def test_mse_finds_the_least_error_of_the_values_themselves(name: str) -> None:
    values = SAMPLES[name] if name in SAMPLES else np.concatenate([UNIFORM, np.full(1, -200, np.float32)])
    values = values[::-4]
    chosen = choose_range(Histogram.of(values), "mse")
    lowest, highest = min(float(values.min()), 0.0), float(values.max())
    lows = np.linspace(0.05, 1, 15) * lowest if lowest < 0 else [0.0]
    best = min(true_error(values, lo, highest * share) for lo in lows for share in np.linspace(0.05, 1, 15))
    assert true_error(values, chosen.lo, chosen.hi) <= best * 1.01


def test_entropy_cuts_rare_outliers_and_keeps_a_uniform_tensor_whole() -> None:
    chosen = choose_range(Histogram.of(OUTLIERS), "entropy")
    assert -20 < chosen.lo < -2
    assert 2 < chosen.hi < 20
    whole = choose_range(Histogram.of(UNIFORM), "entropy")
    assert whole.lo < -0.9
    assert whole.hi > 2.7


def test_entropy_keeps_the_pile_that_a_clip_makes_at_its_bound() -> None:
    chosen = choose_range(Histogram.of(np.clip(NORMAL * 4, 0, 6)), "entropy")
    assert (chosen.lo, chosen.hi) == (0.0, 6.0)


def test_zeros_do_not_move_the_methods_that_weigh_errors() -> None:
    """A thousand times the zeros, as from a sparse Relu, must not change what the other values need."""
    sparse = np.concatenate([RELU, np.zeros(2_000_000, np.float32)])
    for method in ("entropy", "mse"):
        assert choose_range(Histogram.of(sparse), method) == choose_range(Histogram.of(RELU), method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [[0.0, 0.0], [2.5], [-2.5, -2.5], [1e-45, -1e-45], [3e38, -3e38], [5.0, 7.0]])
def test_degenerate_tensors(method: Method, values: list[float]) -> None:
    array = np.array(values, np.float32)
    chosen = choose_range(Histogram.of(array), method)
    assert chosen.lo <= 0 <= chosen.hi
    assert np.isfinite([chosen.lo, chosen.hi]).all()
    assert chosen.hi <= max(0, array.max())
    assert chosen.lo >= min(0, array.min())


@given(values=npst.arrays(np.float32, st.integers(2, 40), elements=st.floats(-100, 100, width=32)), method=st.sampled_from(METHODS))
@settings(max_examples=40)
def test_a_range_holds_zero_and_stays_inside_what_was_seen(values: Array, method: Method) -> None:
    chosen = choose_range(Histogram.of(values), method)
    assert min(0, values.min()) <= chosen.lo <= 0 <= chosen.hi <= max(0, values.max())


def test_an_unknown_method_lists_the_known() -> None:
    with pytest.raises(UsageError, match="minmax, percentile, entropy, mse"):
        choose_range(Histogram.of(NORMAL), "magic")  # type: ignore[arg-type]  # what a caller without a type checker may do


def test_the_default_is_a_method() -> None:
    assert DEFAULT_METHOD in METHODS


SYMMETRIC = Scheme(symmetric=True)


def symmetric_error(values: Array, bound: float) -> float:
    scale = symmetric_int8(-bound, bound)
    return float(np.mean((values - np.clip(np.rint(values / scale), -127, 127) * scale) ** 2))


@pytest.mark.parametrize("name", SAMPLES)
def test_one_scale_for_both_sides_has_a_best_range_of_its_own(name: str) -> None:
    values = SAMPLES[name]
    chosen = choose_range(Histogram.of(values), "mse", SYMMETRIC)
    assert values.min() <= chosen.lo <= 0 <= chosen.hi <= values.max()
    widest = float(np.abs(values).max())
    best = min(symmetric_error(values, widest * share) for share in np.linspace(0.02, 1, 99))
    assert symmetric_error(values, max(-chosen.lo, chosen.hi)) <= best * 1.01


@pytest.mark.parametrize("scheme", [Scheme(), SYMMETRIC])
@pytest.mark.parametrize("name", SAMPLES)
def test_auto_takes_the_method_with_the_least_error_on_each_tensor(name: str, scheme: Scheme) -> None:
    histogram = Histogram.of(SAMPLES[name])
    others = {method: choose_range(histogram, method, scheme) for method in METHODS if method != "auto"}

    def error(chosen: Range) -> float:
        return (
            symmetric_error(SAMPLES[name], max(-chosen.lo, chosen.hi))
            if scheme.symmetric
            else true_error(SAMPLES[name], chosen.lo, chosen.hi)
        )

    chosen = choose_range(histogram, "auto", scheme)
    assert chosen == others[chosen.method]  # type: ignore[index]  # one of the methods' names
    assert error(chosen) <= min(map(error, others.values())) * 1.01


def test_auto_keeps_whole_what_enters_or_leaves_the_network() -> None:
    chosen = choose_range(Histogram.of(OUTLIERS), "auto", whole=True)
    assert (chosen.lo, chosen.hi, chosen.method) == (-45.0, 60.0, "minmax")
    assert choose_range(Histogram.of(OUTLIERS), "mse", whole=True) == choose_range(Histogram.of(OUTLIERS), "mse")
