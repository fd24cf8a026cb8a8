"""From what two models said of the same samples to measurements and a verdict: of classes, and of any metric.

The pipeline calls ``accuracy_measurements`` or ``score_measurements`` after the artifact ran, on the host or on the board.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from edgekit.comparison import NonInferiority, agreement, non_inferiority, tango, wilson
from edgekit.measurement import Findings, Measurement, Verdict
from edgekit.metrics import Array, Metric, Statistics
from edgekit.metrics.resampling import Drawn, PairedVerdict, draw, interval, judge

__all__ = ["accuracy_measurements", "score_measurements", "slice_measurements"]

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
    """Judge the loss against the budget."""
    return _said("top-1", non_inferiority(right_before, right_after, accuracy_drop_max, _CONFIDENCE))


def _said(name: str, result: NonInferiority | PairedVerdict, *, is_error: bool = False) -> Verdict:
    """Say in a sentence what the figures allow; a result's loss is negative, also where the metric counts errors."""
    budget, sure = f"budget {result.margin:.2%}", f"{result.confidence:.0%} sure, {result.n} samples"
    changed, lost = f"{name} changed by {0 - result.delta if is_error else result.delta:+.2%}", "rose by" if is_error else "lost"
    ends = sorted((-result.low, -result.high)) if is_error else (result.low, result.high)
    text = {
        "pass": f"{changed} and {lost} less than {max(0.0, -result.low):.2%} ({sure}), {budget}",
        "fail": f"{changed} and {lost} more than {-result.high:.2%} ({sure}), {budget}",
        "inconclusive": f"{changed}, between {ends[0]:+.2%} and {ends[1]:+.2%} ({sure}), {budget}: "
        f"about {result.needs} more samples are needed",
    }[result.outcome]
    figures = {field: getattr(result, field) for field in result.__struct_fields__ if field != "outcome"}
    return Verdict("accuracy", result.outcome, text, figures)


def score_measurements(
    metric: Metric,
    before: Statistics,
    after: Statistics,
    *,
    accuracy_drop_max: float | None = None,
    classes: int | None = None,
    drawn_before: Drawn | None = None,
) -> Findings:
    """Compare what a metric says of the artifact with what it says of the float model, sample by sample.

    Parameters
    ----------
    before, after
        Of the float model and of the artifact, on the same samples in the same order.
    accuracy_drop_max
        The budget: how much worse the metric may get, as a fraction. None asks for no verdict.
    classes
        How many there are, where the metric has a chance level that depends on it.
    drawn_before
        `edgekit.metrics.resampling.draw` of the float model's total, where it is known already.

    Raises
    ------
    ValueError
        They are not of the same samples, or of none.
    """
    if len(before) != len(after) or not len(before):
        raise ValueError(f"{len(before)} and {len(after)} scores are not of the same samples")
    n, name, details = len(before), metric.name.rpartition(":")[2], {"confidence": _CONFIDENCE}
    measurements = [Measurement("changed", float(np.mean(before.changed(after))), "1", n)]
    if metric.is_share:
        right = [statistics.values[:, 0] > 0 for statistics in (before, after)]
        ends = [wilson(int(np.count_nonzero(one)), n, _CONFIDENCE) for one in right]
        gains, losses = (int(np.count_nonzero(one)) for one in (~right[0] & right[1], right[0] & ~right[1]))
        values, delta_ends = [float(np.mean(one)) for one in right], tango(gains, losses, n, _CONFIDENCE)
    else:
        drawn = [drawn_before or draw(metric.total(before), n), draw(metric.total(after), n)]
        values, ends = [one.value for one in drawn], [interval(one, _CONFIDENCE) for one in drawn]
        delta_ends = interval(drawn[1].minus(drawn[0]), _CONFIDENCE)
    parts = [metric.parts(one) if metric.parts else {} for one in (before, after)]
    for role, value, (low, high), part in zip(("float", "artifact"), values, ends, parts, strict=True):
        further = {"low": _finite(low), "high": _finite(high), **details, **{key: _finite(one) for key, one in part.items()}}
        measurements.append(Measurement(f"{name}_{role}", _finite(value), "1", n, details=further))
    change = values[1] - values[0]
    span = {"low": _finite(delta_ends[0]), "high": _finite(delta_ends[1]), **details}
    measurements.append(Measurement(f"{name}_delta", _finite(change), "1", n, details=span))
    if reason := _nothing_to_lose(metric, values[0], values[1], classes):
        return Findings(tuple(measurements), (Verdict("accuracy", "invalid", reason),))
    if accuracy_drop_max is None:
        return Findings(tuple(measurements))
    if metric.is_share:
        result: NonInferiority | PairedVerdict = non_inferiority(right[0], right[1], accuracy_drop_max, _CONFIDENCE)
    else:
        gain = drawn[0].minus(drawn[1]) if metric.is_error else drawn[1].minus(drawn[0])
        result = judge(gain, n, accuracy_drop_max, _CONFIDENCE)
    return Findings(tuple(measurements), (_said(name, result, is_error=metric.is_error),))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _nothing_to_lose(metric: Metric, value: float, after: float, classes: int | None) -> str | None:
    """Return why a float model that scores so cannot be the measure of anything, or None."""
    name = metric.name.rpartition(":")[2]
    if math.isnan(value) or math.isnan(after):
        return f"{name} has no value: the samples hold nothing that it counts"
    chance = metric.chance(classes) if metric.chance and classes else 0.0
    if metric.truth == "any" or (value < 1 if metric.is_error else value > chance):
        return None
    return f"the float model itself has {name} {value:.2%}, which is no better than chance: check truth, [preprocess] and [postprocess]"


_SLICE_MIN = 30
"""A slice of fewer samples is marked: no interval holds its promise with them (Agresti and Coull, The American Statistician 52, 1998)."""


def slice_measurements(metric: Metric, before: Statistics, after: Statistics, column: str, values: Mapping[str, Array]) -> Findings:
    """Return the artifact's metric, and its change against float, in each slice of the samples.

    Parameters
    ----------
    column
        What the samples are sliced by.
    values
        Value of the column -> which samples have it, bool [samples].
    """
    found = []
    for value, chosen in values.items():
        inside = score_measurements(metric, before.of(chosen), after.of(chosen))
        for one in inside.measurements[2:]:
            details = {**one.details, "slice": f"{column}={value}", "too_small": one.n < _SLICE_MIN}
            found.append(msgspec.structs.replace(one, name=f"{one.name}[{column}={value}]", details=details))
    return Findings(tuple(found))
