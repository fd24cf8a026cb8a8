"""From the predictions of two models on the same samples to measurements and a verdict.

The pipeline calls ``accuracy_measurements`` after the artifact ran, on the host or on the board.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from edgekit.comparison import agreement, non_inferiority, tango
from edgekit.measurement import Findings, Measurement, Verdict

__all__ = ["accuracy_measurements"]

_CONFIDENCE = 0.95


def accuracy_measurements(
    labels: ArrayLike | None,
    float_predictions: ArrayLike,
    artifact_predictions: ArrayLike,
    *,
    accuracy_drop_max: float | None = None,
    chance: float | None = None,
) -> Findings:
    """Compare the artifact's classes with the float model's, and with the truth where it is known.

    Parameters
    ----------
    labels
        True classes, int [n]; None when the samples carry none, and then only the disagreement of
        the two models is measured, which is not accuracy.
    float_predictions, artifact_predictions
        Predicted classes, int [n], of the same samples in the same order.
    accuracy_drop_max
        The budget: the loss of top-1 allowed as a fraction (0.01 is one point). None asks for no verdict.
    chance
        Top-1 of guessing, where the number of classes is known. A float model that is no better has nothing to lose, so the verdict is
        invalid, budget or none: labels or preprocessing are wrong.

    Raises
    ------
    ValueError
        The shapes differ, are not [n], or n is 0.
    """
    before, after = np.asarray(float_predictions), np.asarray(artifact_predictions)
    same = agreement(before, after, _CONFIDENCE)
    measurements = [
        Measurement(
            "disagreement", 1 - same.value, "1", same.n, details={"low": 1 - same.high, "high": 1 - same.low, "confidence": _CONFIDENCE}
        )
    ]
    if labels is None:
        verdict = Verdict("accuracy", "inconclusive", "the samples have no labels: agreement with float is not accuracy")
        return Findings(tuple(measurements), () if accuracy_drop_max is None else (verdict,))
    truth = np.asarray(labels)
    for name, predictions in (("top1_float", before), ("top1_artifact", after)):
        top1 = agreement(truth, predictions, _CONFIDENCE)
        measurements.append(
            Measurement(name, top1.value, "1", top1.n, details={"low": top1.low, "high": top1.high, "confidence": _CONFIDENCE})
        )
    right_before, right_after = before == truth, after == truth
    gains, losses = int(np.count_nonzero(~right_before & right_after)), int(np.count_nonzero(right_before & ~right_after))
    low, high = tango(gains, losses, same.n, _CONFIDENCE)
    details = {"low": low, "high": high, "confidence": _CONFIDENCE, "only_float_right": losses, "only_artifact_right": gains}
    measurements.append(Measurement("top1_delta", (gains - losses) / same.n, "1", same.n, details=details))
    if chance is not None and (right := float(np.mean(right_before))) <= chance:
        text = f"the float model itself is right on {right:.2%}, which is no better than chance: check labels and preprocessing"
        return Findings(tuple(measurements), (Verdict("accuracy", "invalid", text),))
    if accuracy_drop_max is None:
        return Findings(tuple(measurements))
    return Findings(tuple(measurements), (_verdict(right_before, right_after, accuracy_drop_max),))


def _verdict(right_before: np.ndarray, right_after: np.ndarray, accuracy_drop_max: float) -> Verdict:
    """Judge the loss against the budget, and say in a sentence what the figures allow."""
    result = non_inferiority(right_before, right_after, accuracy_drop_max, _CONFIDENCE)
    budget, sure = f"budget {accuracy_drop_max:.2%}", f"{result.confidence:.0%} sure, {result.n} samples"
    text = {
        "pass": f"top-1 changed by {result.delta:+.2%} and lost less than {max(0.0, -result.low):.2%} ({sure}), {budget}",
        "fail": f"top-1 changed by {result.delta:+.2%} and lost more than {-result.high:.2%} ({sure}), {budget}",
        "inconclusive": f"top-1 changed by {result.delta:+.2%}, between {result.low:+.2%} and {result.high:+.2%} ({sure}), {budget}: "
        f"about {result.needs} more samples are needed",
    }[result.outcome]
    figures = {field: getattr(result, field) for field in result.__struct_fields__ if field != "outcome"}
    return Verdict("accuracy", result.outcome, text, figures)
