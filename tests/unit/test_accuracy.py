from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.accuracy import accuracy_measurements
from edgekit.comparison import tango

RNG = np.random.default_rng(29)
LABELS = RNG.integers(0, 10, 4000)
FLOAT = np.where(RNG.random(4000) < 0.9, LABELS, (LABELS + 1) % 10)


def damaged(share: float) -> np.ndarray:
    """Return the float predictions with a share of them one class off."""
    return np.where(np.arange(4000) < share * 4000, (FLOAT + 5) % 10, FLOAT)


@pytest.mark.parametrize(("share", "outcome"), [(0.0, "pass"), (0.005, "pass"), (0.011, "inconclusive"), (0.05, "fail")])
def test_the_verdict_follows_the_loss(share: float, outcome: str) -> None:
    findings = accuracy_measurements(LABELS, FLOAT, damaged(share), accuracy_drop_max=0.01)
    (verdict,) = findings.verdicts
    assert verdict.outcome == outcome
    assert "budget 1.00%" in verdict.text
    assert verdict.figures["n"] == 4000
    assert ("more samples" in verdict.text) == (outcome == "inconclusive")


def test_the_figures() -> None:
    findings = accuracy_measurements(LABELS, FLOAT, damaged(0.05))
    by_name = {measurement.name: measurement for measurement in findings.measurements}
    top1_float, top1_artifact = float(np.mean(FLOAT == LABELS)), float(np.mean(damaged(0.05) == LABELS))
    assert by_name["top1_float"].value == pytest.approx(top1_float)
    assert by_name["top1_artifact"].value == pytest.approx(top1_artifact)
    delta = by_name["top1_delta"]
    assert delta.value == pytest.approx(top1_artifact - top1_float)
    lost, won = delta.details["only_float_right"], delta.details["only_artifact_right"]
    assert isinstance(lost, int)
    assert isinstance(won, int)
    assert (delta.details["low"], delta.details["high"]) == tango(won, lost, 4000, 0.95)
    assert by_name["disagreement"].value == pytest.approx(0.05)
    assert by_name["disagreement"].details["low"] < 0.05 < by_name["disagreement"].details["high"]  # type: ignore[operator]  # both are floats here
    assert findings.verdicts == ()


def test_without_labels_there_is_agreement_but_no_verdict_on_accuracy() -> None:
    assert [one.name for one in accuracy_measurements(None, FLOAT, FLOAT).measurements] == ["disagreement"]
    assert accuracy_measurements(None, FLOAT, FLOAT).verdicts == ()
    (verdict,) = accuracy_measurements(None, FLOAT, FLOAT, accuracy_drop_max=0.01).verdicts
    assert verdict.outcome == "inconclusive"
    assert "not accuracy" in verdict.text


def test_predictions_of_other_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="not of the same samples"):
        accuracy_measurements(LABELS, FLOAT, FLOAT[:-1])
    with pytest.raises(ValueError, match="not of the same samples"):
        accuracy_measurements(LABELS[:-1], FLOAT, FLOAT)


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=60), st.floats(0.001, 0.5))
def test_any_predictions_give_one_consistent_verdict(rows: list[tuple[int, int, int]], drop: float) -> None:
    labels, before, after = zip(*rows, strict=True)
    findings = accuracy_measurements(labels, before, after, accuracy_drop_max=drop)
    (verdict,) = findings.verdicts
    low, high = verdict.figures["low"], verdict.figures["high"]
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert (verdict.outcome == "pass") == (low > -drop)
    assert (verdict.outcome == "fail") == (high < -drop)
    assert all(measurement.valid for measurement in findings.measurements)
