from __future__ import annotations

from edgekit.trial import Trial, worthwhile


def trial(*kept: str, low: float = 0.0, size: int = 100, macs: float = 0.0, disagreement: float = 0.01) -> Trial:
    return Trial(
        kept=kept,
        outcome="fail",
        delta=low,
        delta_low=low,
        disagreement=disagreement,
        sqnr_db=20.0,
        artifact_bytes=size,
        float_macs=macs,
    )


def test_the_front_holds_what_nothing_beats_cheapest_first() -> None:
    cheap = trial(low=-0.3)
    dear = trial("a", "b", low=-0.01, size=300, macs=0.4)
    between = trial("b", low=-0.1, size=150, macs=0.2)
    beaten = trial("a", low=-0.2, size=150, macs=0.3)
    assert worthwhile([dear, beaten, cheap, between]) == [cheap, between, dear]


def test_equal_trials_both_stay_and_the_same_choice_counts_once() -> None:
    one, other = trial("a", macs=0.1), trial("b", macs=0.1)
    assert worthwhile([one, other, trial("a", macs=0.1)]) == [one, other]
    assert worthwhile([trial("a", "b", macs=0.2), trial("b", "a", macs=0.2)]) == [trial("b", "a", macs=0.2)]
