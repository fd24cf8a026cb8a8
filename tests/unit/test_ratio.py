from __future__ import annotations

import numpy as np
import pytest

from edgekit.ratio import latency_ratio
from tests.unit.test_statistics import autoregression


def in_turns(rng: np.random.Generator, ratio: float, *, rounds: int = 40, own: float = 0.0) -> tuple[list[int], list[int]]:
    """Return two series in turns on a board that wanders by 5 %, each besides on its ``own``, with interrupts."""
    pace = 1 + 0.05 * autoregression(rng, 0.8, rounds)
    paces = (np.repeat(pace * (1 + own * autoregression(rng, 0.6, rounds)), 20) for _ in range(2))
    one, other = (1e6 * series * (1 + 0.03 * rng.exponential(size=rounds * 20)) for series in paces)
    one[rng.integers(0, len(one), 8)] *= 30
    return (one * ratio).astype(int).tolist(), other.astype(int).tolist()


@pytest.mark.parametrize(("rounds", "own"), [(8, 0.01), (12, 0.0), (12, 0.01), (20, 0.01), (40, 0.0), (40, 0.01), (75, 0.01), (150, 0.01)])
def test_the_ratio_of_two_series_in_turns_is_within_its_interval_as_often_as_it_says(rounds: int, own: float) -> None:
    """1,000 runs tell a share of 95 % to 2.1 points (3 standard deviations)."""
    rng = np.random.default_rng(5)
    found = [latency_ratio(*in_turns(rng, 1.1, rounds=rounds, own=own), 20) for _ in range(1000)]
    assert sum(ratio.low <= 1.1 <= ratio.high for ratio in found) >= 930
    assert all(1.04 < ratio.value < 1.16 and ratio.rounds == rounds for ratio in found)


def test_the_ratio_is_the_same_on_every_call_and_turns_over() -> None:
    one, other = in_turns(np.random.default_rng(6), 1.5)
    assert latency_ratio(one, other, 20) == latency_ratio(one, other, 20)
    assert latency_ratio(one, other, 20).value * latency_ratio(other, one, 20).value == pytest.approx(1)
    assert latency_ratio(one, one, 20).low == latency_ratio(one, one, 20).high == 1


@pytest.mark.parametrize(("one", "other"), [([1] * 160, [1] * 140), ([1] * 170, [1] * 170), ([1] * 140, [1] * 140), ([1] * 160, [0] * 160)])
def test_what_cannot_be_compared_is_refused(one: list[int], other: list[int]) -> None:
    with pytest.raises(ValueError, match=r"blocks|rounds|no time"):
        latency_ratio(one, other, 20)
