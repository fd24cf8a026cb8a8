"""The paired bootstrap: what it promises, over seeded simulated sets; and what it may not promise."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.comparison import tango
from edgekit.metrics import Statistics, collect, ratio
from edgekit.metrics.classes import F1
from edgekit.metrics.resampling import Drawn, draw, interval, judge
from edgekit.metrics.text import CER

RUNS, ROUNDS = 1000, 100


def skewed(random: np.random.Generator, n: int) -> tuple[Statistics, Statistics]:
    """Return edits and lengths of texts by two models, the second of which makes 1 % more; errors come in bursts."""
    length = random.integers(5, 60, n)
    base = np.minimum(length, random.negative_binomial(1, 0.25, n))
    more = np.minimum(length - base, random.poisson(length * 0.01 / 0.9))
    return Statistics(np.stack([base, length], 1).astype(float), np.ones(n, int)), Statistics(
        np.stack([base + more, length], 1).astype(float), np.ones(n, int)
    )


def difference(before: Statistics, after: Statistics, rounds: int = ROUNDS) -> Drawn:
    one, other = CER.total(after), CER.total(before)
    return draw(lambda weights: one(weights) - other(weights), len(before), rounds)


def test_bounds_hold_as_often_as_they_promise() -> None:
    random = np.random.default_rng(1)
    big = difference(*skewed(random, 1_000_000), rounds=1)
    true = big.value
    inside = below = above = 0
    for _ in range(RUNS):
        low, high = interval(difference(*skewed(random, 150)), 0.90)
        inside, below, above = inside + (low <= true <= high), below + (true < low), above + (true > high)
    # 90 % of 1,000 runs: five standard errors of the count are 47; the bootstrap itself is known to fall short by a point or so.
    assert inside >= 850
    assert max(below, above) <= 90


def test_nobody_passes_whose_loss_is_the_margin() -> None:
    """The gate's error: a model that is worse by exactly the margin must be passed in at most about 5 % of the runs."""
    random = np.random.default_rng(2)
    margin = difference(*skewed(random, 1_000_000), rounds=1).value
    passed = sum(judge(difference(*skewed(random, 400)).turned(), 400, margin).outcome == "pass" for _ in range(RUNS // 5))
    assert passed <= 0.05 * RUNS / 5 + 5 * np.sqrt(0.05 * 0.95 * RUNS / 5)


def same(n: int) -> Drawn:
    statistics = collect([ratio(1.0)] * n)
    total = CER.total(statistics)
    return draw(total, n).minus(draw(total, n))


@pytest.mark.parametrize(("n", "outcome"), [(5, "inconclusive"), (260, "inconclusive"), (300, "pass"), (3000, "pass")])
def test_samples_that_show_no_change_prove_as_much_as_a_share_would(n: int, outcome: str) -> None:
    found = judge(same(n), n, 0.01)
    assert found.outcome == outcome
    assert found.low == pytest.approx(tango(0, 0, n, 0.9)[0])
    assert n + found.needs >= 268 if outcome == "inconclusive" else found.needs == 0
    if outcome == "inconclusive":
        assert judge(same(n + found.needs), n + found.needs, 0.01).outcome == "pass"


def test_a_loss_beyond_chance_fails_and_a_gain_passes() -> None:
    random = np.random.default_rng(3)
    labels = random.integers(0, 4, 800)
    worse = np.where(random.random(800) < 0.1, (labels + 1) % 4, labels)
    perfect, bad = (Statistics(np.stack([labels, said], 1).astype(float), np.ones(800, int)) for said in (labels, worse))
    before, after = (draw(F1.total(one), 800) for one in (perfect, bad))
    assert judge(after.minus(before), 800, 0.01).outcome == "fail"
    assert judge(before.minus(after), 800, 0.01).outcome == "pass"
    undecided = judge(after.minus(before), 800, 0.1)
    assert undecided.outcome == "inconclusive"
    assert undecided.needs > 0


def test_the_same_samples_give_the_same_draws() -> None:
    before, after = skewed(np.random.default_rng(4), 50)
    apart = draw(CER.total(after), 50, ROUNDS).minus(draw(CER.total(before), 50, ROUNDS))
    assert interval(difference(before, after)) == interval(difference(before, after)) == interval(apart)
    with pytest.raises(ValueError, match="no sample"):
        draw(lambda weights: 0.0, 0)


def test_a_figure_without_a_value_has_no_interval() -> None:
    assert np.isnan(interval(Drawn(float("nan"), np.zeros(3), np.zeros(3)))).all()
