from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edgekit.errors import InputError
from edgekit.quantize.histogram import MAX_BINS, Histogram

floats = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 6.0, 1e-45, -1e-45, 3.0e38, -3.0e38, 0.1]),
    st.floats(-8, 8, width=32),
)
arrays = npst.arrays(np.float32, st.integers(1, 60), elements=floats)


@given(values=arrays, data=st.data())
@settings(max_examples=300, deadline=None)
def test_the_result_depends_on_the_multiset_of_values_alone(values: np.ndarray, data: st.DataObject) -> None:
    whole = Histogram.of(values)
    order = data.draw(st.permutations(range(values.size)))
    shuffled = values[np.array(order)]
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, values.size - 1)), max_size=6)))
    shards = [Histogram.of(part) for part in np.split(shuffled, cuts) if part.size]
    left = shards[0]
    for shard in shards[1:]:
        left = left + shard
    right = shards[-1]
    for shard in reversed(shards[:-1]):
        right = shard + right
    assert left == whole
    assert right == whole


@given(values=arrays)
@settings(max_examples=200, deadline=None)
def test_counts_agree_with_the_definition(values: np.ndarray) -> None:
    h = Histogram.of(values)
    assert h.total == values.size
    assert h.zeros == int((values == 0).sum())
    assert (h.lo, h.hi) == (values.min(), values.max())
    assert 1 <= h.counts.size <= MAX_BINS
    assert h.counts.dtype == np.int64
    assert (h.counts >= 0).all()
    expected = np.zeros_like(h.counts)
    for value in values[values != 0].astype(np.float64):
        expected[int(np.floor(np.ldexp(value, -h.exponent))) - h.first] += 1
    assert np.array_equal(h.counts, expected)


def test_a_wide_tensor_uses_at_least_half_of_the_bins() -> None:
    values = np.random.default_rng(1).normal(size=300_000).astype(np.float32)
    assert MAX_BINS // 2 <= Histogram.of(values).counts.size <= MAX_BINS


def test_more_values_than_one_block_are_all_counted() -> None:
    values = np.maximum(np.random.default_rng(2).normal(size=200_001), 0).astype(np.float32)
    h = Histogram.of(values)
    span = (h.first * h.width, (h.first + h.counts.size) * h.width)
    direct, _ = np.histogram(values[values > 0].astype(np.float64), bins=h.counts.size, range=span)
    assert np.array_equal(h.counts, direct)


def test_an_equal_value_everywhere_is_one_bin() -> None:
    h = Histogram.of(np.full(10, 3.25, np.float32))
    assert h.counts.tolist() == [10]
    assert abs(h.centres[0] - 3.25) <= h.width


def test_different_values_make_different_histograms() -> None:
    assert Histogram.of(np.array([1.0, 2.0], np.float32)) != Histogram.of(np.array([1.0, 2.5], np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_names_the_tensor(bad: float) -> None:
    with pytest.raises(InputError, match="conv1_out"):
        Histogram.of(np.array([1.0, bad], np.float32), name="conv1_out")
