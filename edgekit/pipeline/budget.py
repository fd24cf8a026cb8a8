"""The accuracy budget: keep the fewest layers out of int8 with which the promise holds, or say honestly that none does.

``build`` calls ``search``. It grows the set of kept layers in the order of ``quantize.sensitivity``, judges each set end to
end on the evaluation set, and goes back to the smallest that holds. It knows no runtime: a trial is a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from edgekit.comparison import non_inferiority
from edgekit.pipeline import Progress, silent
from edgekit.quantize.sensitivity import Step
from edgekit.trial import Trial

__all__ = ["MAX_TRIALS", "Search", "can_be_proved", "search"]

MAX_TRIALS = 20
"""Default number of plans judged on the evaluation set; doubling and bisecting seldom need half of it."""


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes
    ----------
    best
        The trial to build: the fewest layers with which the budget is met, else the best there was.
    met
        Whether the budget is.
    trials
        All of them, in order.
    why
        Layer -> reason, for the kept ones.
    """

    best: Trial
    met: bool
    trials: tuple[Trial, ...]
    why: dict[str, str]


def can_be_proved(samples: int, accuracy_drop_max: float) -> bool:
    """Tell whether so many samples can show that the budget is met at all: they can if an artifact that errs nowhere passes."""
    return non_inferiority([True] * samples, [True] * samples, accuracy_drop_max).outcome == "pass"


def search(
    first: Trial,
    steps: Iterator[Step],
    judge: Callable[[Sequence[str]], Trial],
    *,
    accuracy_drop_max: float,
    samples: int,
    max_trials: int = MAX_TRIALS,
    progress: Progress = silent,
) -> Search:
    """Find the fewest layers to keep in float.

    Set sizes double until the budget is met, then the smallest set between that and the last miss is found by
    bisection, and each layer of it is tried back in int8, the least important first.

    Where the evaluation set is too small to prove the budget met by any artifact, "met" is that the measured loss is
    within it; the verdict stays inconclusive.

    Parameters
    ----------
    first
        The trial with every layer in int8.
    steps
        What to keep next, in order: ``quantize.sensitivity.ranking``.
    judge
        Measures a choice of kept layers on the evaluation set.
    samples
        Size of the evaluation set.
    max_trials
        How many more trials than the first to make at most.
    progress
        Called with the stage ``"meet the budget"``.
    """
    tried = _Tried(first, judge, accuracy_drop_max, can_be_proved(samples, accuracy_drop_max), max_trials, progress)
    order = _Order(steps)
    lower, upper, size = 0, None, 1
    while not tried.is_met(()) and upper is None and tried.left:
        kept = order.first(size)
        if len(kept) <= len(order.first(lower)):
            break
        if tried.is_met(kept):
            upper = size
        else:
            lower, size = size, 2 * size
    while upper is not None and upper - lower > 1 and tried.left:
        middle = (lower + upper) // 2
        lower, upper = (lower, middle) if tried.is_met(order.first(middle)) else (middle, upper)
    best = () if tried.is_met(()) else order.first(upper) if upper is not None else None
    if best is None:
        found = max(tried.all, key=lambda trial: (trial.delta_low, -len(trial.kept)))
        return Search(found, False, tuple(tried.all), {name: order.why[name] for name in found.kept})
    for name in reversed(best):
        fewer = tuple(other for other in best if other != name)
        if tried.left and len(fewer) < len(best) and fewer and tried.is_met(fewer):
            best = fewer
    return Search(tried.of(best), True, tuple(tried.all), {name: order.why[name] for name in best})


class _Order:
    """The kept layers as they grow, step by step, asked for only as far as needed."""

    def __init__(self, steps: Iterator[Step]) -> None:
        self._steps = steps
        self._sets: list[tuple[str, ...]] = [()]
        self.why: dict[str, str] = {}

    def first(self, size: int) -> tuple[str, ...]:
        """Return the layers of the first ``size`` steps, or of all there are."""
        while len(self._sets) <= size and (step := next(self._steps, None)):
            self.why.update(dict.fromkeys(step.layers, step.why))
            self._sets.append((*self._sets[-1], *step.layers))
        return self._sets[min(size, len(self._sets) - 1)]


@dataclass
class _Tried:
    """The trials so far; none is made twice."""

    first: Trial
    judge: Callable[[Sequence[str]], Trial]
    accuracy_drop_max: float
    provable: bool
    max_trials: int
    progress: Progress
    all: list[Trial] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.all.append(self.first)
        self.progress("meet the budget", 0, self.max_trials)

    @property
    def left(self) -> bool:
        return len(self.all) <= self.max_trials

    def of(self, kept: Sequence[str]) -> Trial:
        for trial in self.all:
            if set(trial.kept) == set(kept):
                return trial
        self.all.append(self.judge(kept))
        self.progress("meet the budget", len(self.all) - 1, self.max_trials)
        return self.all[-1]

    def is_met(self, kept: Sequence[str]) -> bool:
        trial = self.of(kept)
        if self.provable:
            return trial.outcome == "pass"
        return trial.outcome == "pass" or (trial.outcome != "invalid" and trial.delta >= -self.accuracy_drop_max)
