"""The search by itself, on judges whose answer is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest

from edgekit.pipeline.budget import Search, can_be_proved, search
from edgekit.quantize.sensitivity import Step
from edgekit.trial import Trial

LAYERS = [f"conv{number}" for number in range(40)]
SHARES = 0.5


def judged(kept: Sequence[str], *, passes: bool, delta: float) -> Trial:
    return Trial(
        kept=tuple(kept),
        outcome="pass" if passes else "fail",
        delta=delta,
        delta_low=delta - 0.004,
        disagreement=0.02,
        sqnr_db=20.0,
        artifact_bytes=1000 + len(kept),
        float_macs=len(kept) / len(LAYERS),
    )


class Judge:
    """Passes when every layer of ``needed`` is kept; counts its calls."""

    def __init__(self, needed: Sequence[str]) -> None:
        self.needed = set(needed)
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, kept: Sequence[str]) -> Trial:
        self.asked.append(tuple(kept))
        missing = len(self.needed - set(kept))
        return judged(kept, passes=missing == 0, delta=-0.01 * missing)


def steps(*names: str) -> Iterator[Step]:
    return (Step((name,), SHARES) for name in names or LAYERS)


def run(judge: Judge, order: Iterator[Step], *, max_trials: int = 20, samples: int = 5000) -> Search:
    return search(judge(()), order, judge, accuracy_drop_max=0.005, samples=samples, max_trials=max_trials)


@pytest.mark.parametrize("needed", [0, 1, 2, 3, 5, 8, 13, 31, 40])
def test_the_fewest_layers_of_the_order_are_kept(needed: int) -> None:
    judge = Judge(LAYERS[:needed])
    found = run(judge, steps(), max_trials=100)
    assert found.met
    assert set(found.best.kept) == set(LAYERS[:needed])
    assert set(found.why) == set(LAYERS[:needed])
    assert len(set(map(frozenset, judge.asked))) == len(judge.asked) == len(found.trials)


def test_a_layer_that_the_order_put_too_early_goes_back_to_int8() -> None:
    found = run(Judge(["conv1", "conv3"]), steps(), max_trials=100)
    assert found.best.kept == ("conv1", "conv3")
    assert list(found.why) == ["conv1", "conv3"]


def test_few_trials_end_the_search_and_the_best_one_is_said_to_miss() -> None:
    judge = Judge(LAYERS[:30])
    found = run(judge, steps(), max_trials=3)
    assert not found.met
    assert len(found.trials) == 4
    assert found.best.kept == tuple(LAYERS[:4])
    assert found.best.outcome == "fail"


def test_no_trials_at_all_leave_every_layer_in_int8() -> None:
    found = run(Judge(LAYERS[:2]), steps(), max_trials=0)
    assert (found.met, found.best.kept, len(found.trials)) == (False, (), 1)


def test_an_impossible_budget_ends_when_every_layer_is_tried() -> None:
    found = run(Judge([*LAYERS, "something else"]), steps(), max_trials=100)
    assert not found.met
    assert set(found.best.kept) == set(LAYERS)
    assert found.best.delta == pytest.approx(-0.01)


def test_a_met_budget_asks_for_no_ranking() -> None:
    judge = Judge([])
    found = run(judge, map(pytest.fail, ["the ranking was begun"]))
    assert found.met
    assert judge.asked == [()]


def test_steps_of_several_layers_are_taken_whole_and_then_thinned() -> None:
    order = iter([Step(("a", "b"), 0.5), Step(("c",), 0.2)])
    found = run(Judge(["b"]), order)
    assert found.best.kept == ("b",)


def test_too_few_samples_to_prove_anything_make_the_measured_loss_count() -> None:
    assert can_be_proved(5000, 0.005)
    assert not can_be_proved(500, 0.005)

    def judge(kept: Sequence[str]) -> Trial:
        return judged(kept, passes=False, delta=-0.02 + 0.01 * len(kept))

    found = search(judge(()), steps(), judge, accuracy_drop_max=0.005, samples=500)
    assert found.met
    assert found.best.kept == ("conv0", "conv1")
    assert found.best.outcome == "fail"


def test_progress_counts_trials() -> None:
    seen: list[tuple[str, int, int]] = []
    judge: Callable[[Sequence[str]], Trial] = Judge(LAYERS[:2])
    search(judge(()), steps(), judge, accuracy_drop_max=0.005, samples=5000, progress=lambda *step: seen.append(step))
    assert seen[0] == ("meet the budget", 0, 20)
    assert [done for _, done, _ in seen] == list(range(len(seen)))


def test_a_trial_without_a_value_meets_no_budget() -> None:
    def invalid(kept: Sequence[str]) -> Trial:
        return msgspec.structs.replace(judged(kept, passes=False, delta=0.0), outcome="invalid")

    found = search(judged((), passes=False, delta=-0.01), steps("a"), invalid, accuracy_drop_max=0.005, samples=10, max_trials=2)
    assert not found.met
