"""``Trial``: one plan of the budget search, measured end to end on the evaluation set.

``pipeline.budget`` makes them, the report holds them, the command line shows the ones worth choosing from.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from edgekit.measurement import Outcome

__all__ = ["Trial", "worthwhile"]


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one choice of layers kept out of int8 gives, and what it costs.

    Attributes
    ----------
    kept
        The layers, by name, in the order in which the search took them; empty for all of them in int8.
    outcome
        Of the accuracy budget.
    delta, delta_low
        Change of the metric against float as a fraction, a loss being negative, and the lower bound the verdict rests on.
    disagreement
        Share of samples whose class differs from the float model's, or what the metric keeps of them.
    sqnr_db
        Of the first output; None when nothing moved.
    artifact_bytes
        Size of the artifact.
    float_macs
        Share of the multiply-accumulates that are computed in float: what latency will be made of on a
        board nobody has measured.
    """

    kept: tuple[str, ...]
    outcome: Outcome
    delta: float
    delta_low: float
    disagreement: float
    sqnr_db: float | None
    artifact_bytes: int
    float_macs: float


def worthwhile(trials: Iterable[Trial]) -> list[Trial]:
    """Return the Pareto front, cheapest first: no other trial is as good at everything and better at something.

    What counts is the bound of the loss, the disagreement with float, the size and the share computed in float.
    """
    unique = list({frozenset(trial.kept): trial for trial in trials}.values())

    def costs(trial: Trial) -> tuple[float, ...]:
        return (-trial.delta_low, trial.disagreement, trial.artifact_bytes, trial.float_macs)

    def beaten(trial: Trial) -> bool:
        mine = costs(trial)
        return any(theirs != mine and all(a <= b for a, b in zip(theirs, mine, strict=True)) for theirs in map(costs, unique))

    return sorted((trial for trial in unique if not beaten(trial)), key=lambda trial: (trial.float_macs, trial.artifact_bytes))
