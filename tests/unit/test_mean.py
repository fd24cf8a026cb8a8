"""A mean's interval holds what it promises, for series whose neighbours resemble each other too."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgekit.mean import mean


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("count", [30, 100])
def test_the_interval_covers_the_truth(correlation: float, count: int) -> None:
    """Of 1,000 seeded series; 99 % promised. With 30 values the correlation itself is known badly, and 97.5 % is what is had."""
    rng, covered = np.random.default_rng(11), 0
    for _ in range(1000):
        noise = rng.normal(size=count + 50)
        series = np.zeros(count + 50)
        for place in range(1, count + 50):
            series[place] = correlation * series[place - 1] + noise[place]
        found = mean((7.0 + series[50:]).tolist())
        covered += abs(found.value - 7.0) <= found.half_width
    assert covered >= (975 if correlation else 985)


@pytest.mark.parametrize(("count", "t99"), [(4, 5.841), (5, 4.604), (6, 4.032), (9, 3.355)])
def test_few_values_have_the_interval_of_students_t(count: int, t99: float) -> None:
    """Quantiles of 3, 4, 5 and 8 degrees of freedom, as every table has them."""
    values = np.linspace(-1, 1, count).tolist()
    half = t99 * float(np.std(values, ddof=1)) / math.sqrt(count)
    assert mean(values).half_width == pytest.approx(half, rel=0.01)
    assert mean(values[:3]).half_width == math.inf


def test_one_value_tells_no_width() -> None:
    assert mean([3.0]).half_width == math.inf
    assert mean([2.0, 2.0, 2.0, 2.0]).half_width == 0.0
    with pytest.raises(ValueError, match="the mean of nothing"):
        mean([])
