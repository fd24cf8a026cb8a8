from __future__ import annotations

import math
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.statistics import PERCENTILES, drift, effective_count, fewest_samples, percentile_bound, summary

latencies = st.lists(st.integers(0, 10**12), min_size=1, max_size=300)


def autoregression(rng: np.random.Generator, rho: float, n: int) -> np.ndarray:
    steps = rng.normal(size=n) * math.sqrt(1 - rho * rho)
    series = np.empty(n)
    value = rng.normal()
    for index, step in enumerate(steps):
        series[index] = value = rho * value + step
    return series


@pytest.mark.parametrize(("p", "fewest"), [(0.5, 11), (0.9, 64), (0.95, 130), (0.99, 662), (0.999, 6636)])
def test_the_first_bound_needs_as_many_queries_as_loadgen_says(p: float, fewest: int) -> None:
    assert fewest_samples(p) == fewest
    assert percentile_bound(range(fewest), p).upper_ns == fewest - 1
    short = percentile_bound(range(fewest - 1), p)
    assert (short.upper_ns, short.needs) == (None, 1)


@pytest.mark.parametrize("n", [64, 65, 333, 700])
@pytest.mark.parametrize("p", [0.5, 0.9, 0.95, 0.99])
def test_the_rank_is_that_of_exact_arithmetic(n: int, p: float) -> None:
    rate = 1 - Fraction(p)
    below, t = Fraction(0), -1
    while (below := below + math.comb(n, t + 1) * rate ** (t + 1) * (1 - rate) ** (n - t - 1)) <= 1 - Fraction(0.99):
        t += 1
    assert percentile_bound(range(n), p).upper_ns == (n - t if t >= 1 else None)


def test_the_lower_bound_mirrors_the_upper_one() -> None:
    bound, mirror = percentile_bound(range(1000), 0.9), percentile_bound(range(1000), 0.1)
    assert bound.lower_ns is not None
    assert mirror.upper_ns == 999 - bound.lower_ns


@pytest.mark.parametrize("p", [0.5, 0.9])
def test_fewer_effective_samples_keep_the_rank_at_its_share_of_the_series(p: float) -> None:
    few, many = percentile_bound(range(200), p), percentile_bound(range(2000), p, n_eff=200)
    assert few.upper_ns is not None
    assert few.lower_ns is not None
    assert many.upper_ns == 10 * few.upper_ns
    assert many.lower_ns == 10 * few.lower_ns + 9


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_both_bounds_cover_the_true_percentile_of_independent_samples(p: float) -> None:
    runs, n = 4000, 700
    samples = np.sort(np.random.default_rng(5).exponential(size=(runs, n)), axis=1)
    bound, truth = percentile_bound(range(n), p), -math.log(1 - p)
    allowed = 0.01 * runs + 3 * math.sqrt(0.01 * runs)
    assert bound.upper_ns is not None
    assert bound.lower_ns is not None
    assert np.count_nonzero(samples[:, bound.upper_ns] < truth) <= allowed
    assert np.count_nonzero(samples[:, bound.lower_ns] > truth) <= allowed


def test_the_bound_holds_for_correlated_samples_and_would_not_without_n_eff() -> None:
    rng, truth = np.random.default_rng(7), 1_000_000 + 100_000 * 1.2815515655
    corrected = plain = 0
    for _ in range(200):
        series = (1_000_000 + 100_000 * autoregression(rng, 0.8, 2500)).astype(int)
        upper = summary(series).percentiles["p90"].upper_ns
        naive = percentile_bound(np.sort(series), 0.9).upper_ns
        assert upper is not None
        assert naive is not None
        corrected += upper < truth
        plain += naive < truth
    assert corrected <= 6
    assert plain > 12


def test_a_hundred_thousand_samples_are_bound_in_fifty_milliseconds() -> None:
    ordered = np.sort(np.random.default_rng(1).integers(10**6, 2 * 10**6, 100_000))
    fastest = math.inf
    for _ in range(5):
        started = time.perf_counter()
        percentile_bound(ordered, 0.5)
        fastest = min(fastest, time.perf_counter() - started)
    assert fastest < 0.05


@pytest.mark.parametrize(("rho", "least", "most"), [(0.0, 0.9, 1.0), (0.5, 0.35, 0.5), (0.9, 0.04, 0.075)])
def test_effective_count_of_an_autoregression(rho: float, least: float, most: float) -> None:
    """At the median, where it is largest, the correlation of who is beyond is 2 / pi asin(rho^k): tau is 2.45 and 15.5."""
    series = autoregression(np.random.default_rng(3), rho, 20_000)
    assert least <= effective_count(series) / 20_000 <= most


def test_outliers_do_not_hide_that_neighbours_resemble_each_other() -> None:
    rng = np.random.default_rng(4)
    series = autoregression(rng, 0.9, 20_000)
    hidden = series.copy()
    hidden[rng.integers(0, 20_000, 20)] += 1e6
    assert effective_count(hidden) == pytest.approx(effective_count(series), rel=0.1)


def test_long_patterns_are_counted_as_short_ones_are() -> None:
    """Beyond the lags that are counted one by one, a Fourier transform gives the same."""
    slow = np.repeat(np.random.default_rng(6).integers(0, 2, 400), 100)
    assert 100 <= effective_count(slow) <= 400
    assert effective_count(slow[::50]) == pytest.approx(effective_count(slow), rel=0.3)


@pytest.mark.parametrize(("series", "count"), [([5], 1), ([5, 5, 5, 5], 4), ([1, 9] * 20, 40), (range(50), 1)])
def test_effective_count_at_its_ends(series: list[int], count: float) -> None:
    assert effective_count(series) == pytest.approx(count, abs=0.6)


@pytest.mark.parametrize("n", [7, 100, 5000])
def test_drift_of_a_straight_line_is_its_rise(n: int) -> None:
    line = np.linspace(100.0, 120.0, n)
    assert drift(line) == pytest.approx((20 / 110,) * 3)


def test_drift_sees_five_percent_through_noise_and_outliers() -> None:
    rng = np.random.default_rng(11)
    series = np.linspace(1.0, 1.05, 2000) * rng.normal(1, 0.05, 2000)
    series[rng.integers(0, 2000, 60)] *= 20
    change, low, high = drift(series)
    assert change == pytest.approx(0.05, abs=0.02)
    assert 0 < low < change < high


def test_drift_is_rarely_proved_where_there_is_none() -> None:
    rng = np.random.default_rng(13)
    proved = 0
    for _ in range(300):
        _, low, high = drift(rng.lognormal(size=200))
        proved += low > 0 or high < 0
    assert proved <= 9


@pytest.mark.parametrize("n", [1, 2, 6])
def test_a_handful_of_samples_proves_no_drift(n: int) -> None:
    assert drift(np.arange(1, n + 1)) == (0, 0, 0)


@given(latencies)
def test_summary_is_ordered_and_within_its_samples(samples: list[int]) -> None:
    found = summary(samples)
    estimates = [bound.estimate_ns for bound in found.percentiles.values()]
    assert [found.min_ns, *estimates, found.max_ns] == sorted([min(samples), *estimates, max(samples)])
    assert list(found.percentiles) == list(PERCENTILES)
    assert 1 <= found.n_eff <= found.n == len(samples)
    for bound in found.percentiles.values():
        assert bound.estimate_ns in samples
        assert bound.lower_ns is None or bound.lower_ns <= bound.estimate_ns
        assert (bound.upper_ns is None) == (bound.needs > 0)
        assert bound.upper_ns is None or bound.upper_ns >= bound.estimate_ns
    assert found.drift_low <= found.drift <= found.drift_high


@given(latencies, st.sampled_from(list(PERCENTILES.values())))
def test_a_percentile_has_its_share_at_or_below(samples: list[int], p: float) -> None:
    estimate = percentile_bound(sorted(samples), p).estimate_ns
    assert sum(value <= estimate for value in samples) >= p * len(samples) - 1e-6
    assert sum(value < estimate for value in samples) < p * len(samples)


def test_no_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        summary([])
    with pytest.raises(ValueError, match="at least one sample"):
        percentile_bound([], 0.5)
