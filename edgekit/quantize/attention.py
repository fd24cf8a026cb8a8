"""``attention_ranges``: masked scores in int8 get levels for the scores, and one for the mask.

A masked score need only be low enough. ``mask`` leaves it 1000 below the others; a range that held that would leave a
level or two for all that a Softmax can tell. So the range ends NOTHING below the least bare score, and what is
masked saturates there: whatever the row, its weight is below exp(-NOTHING) of that of any score. ``calibrate`` uses it.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.graph import Graph, Node
from edgekit.plan import Range
from edgekit.quantize.histogram import Histogram
from edgekit.quantize.mask import ENOUGH, gains_to_softmax, is_mask

__all__ = ["NOTHING", "SOFTMAX", "attention_ranges"]

SOFTMAX = "softmax"
"""The method of these ranges, in plans."""

NOTHING = 8.0
"""exp(-8) is a sixth of half the step 1/256 in which int8 kernels write a softmax: it is written as 0, and a hundred
of them in one row still weigh less than nine steps even where the row's best score is the least of all."""

_BIAS_DEPTH = 20.0  # of a constant added to scores, what lies deeper below its greatest value is a mask

Interval = tuple[float, float]


def attention_ranges(graph: Graph, ranges: Mapping[str, Range], histograms: Mapping[str, Histogram]) -> dict[str, Range]:
    """Return the ranges of tensors that hold masked scores, where they are narrower than the chosen ones.

    Parameters
    ----------
    ranges
        Of every activation, as chosen without regard to masks.
    histograms
        Of the activations that have one of their own: they know the greatest value.
    """
    found: dict[str, Range] = {}
    for name, gain in gains_to_softmax(graph).items():
        interval = _bare(graph, ranges, name)
        if gain <= 0 or interval is None or name not in ranges:
            continue
        least = interval[0]
        if name in histograms:
            # Seen unmasked: with padding, less than all the bare scores.
            least = max(least, _least_above(histograms[name], -ENOUGH / gain / 2))
        lo = least - NOTHING / gain
        if lo > ranges[name].lo:
            hi = histograms[name].hi if name in histograms else ranges[name].hi
            found[name] = Range(lo, max(hi, lo), SOFTMAX)
    return found


def _least_above(histogram: Histogram, bound: float) -> float:
    seen = histogram.centres[(histogram.counts > 0) & (histogram.centres > bound)]
    return float(seen.min()) - histogram.width / 2 if seen.size else bound


def _bare(graph: Graph, ranges: Mapping[str, Range], name: str) -> Interval | None:
    """Return bounds of what a tensor holds where nothing is masked, or None where no mask is known to be in it."""
    maker = graph.producers.get(name)
    if maker is None:
        return None
    if maker.op == "Add":
        return _sum(graph, ranges, maker)
    if maker.op == "Where":
        return _chosen(graph, ranges, maker)
    if maker.op in ("Reshape", "Transpose"):
        return _bare(graph, ranges, maker.inputs[0])
    if maker.op == "Max":
        return next((found for side in maker.inputs if (found := _bare(graph, ranges, side)) is not None), None)
    if maker.op in ("Mul", "Div") and maker.inputs[1] in graph.weights and graph.weights[maker.inputs[1]].size == 1:
        factor = float(graph.weights[maker.inputs[1]].reshape(()))
        interval = _bare(graph, ranges, maker.inputs[0])
        factor = factor if maker.op == "Mul" else 1.0 / factor
        return None if interval is None or factor <= 0 else (interval[0] * factor, interval[1] * factor)
    return None


def _sum(graph: Graph, ranges: Mapping[str, Range], maker: Node) -> Interval | None:
    """Bound the sum of scores and a mask, of which the unmasked places add a constant's upper values, or nothing."""
    for scores, other in (maker.inputs, maker.inputs[::-1]):
        if scores in graph.weights or is_mask(graph, scores):
            continue
        inner = _bare(graph, ranges, scores)
        lo, hi = inner or (ranges[scores].lo, ranges[scores].hi)
        if other in graph.weights:
            values = graph.weights[other]
            kept = values[values >= values.max() - _BIAS_DEPTH]
            masks = kept.size < values.size
            return (lo + float(kept.min()), hi + float(kept.max())) if masks or inner else None
        if is_mask(graph, other):
            return lo, hi
    return None


def _chosen(graph: Graph, ranges: Mapping[str, Range], maker: Node) -> Interval | None:
    """Bound a choice between scores and a constant far below them."""
    for scores, other in (maker.inputs[1:], maker.inputs[:0:-1]):
        if other in graph.weights and scores in ranges and not is_mask(graph, scores):
            lo, hi = _bare(graph, ranges, scores) or (ranges[scores].lo, ranges[scores].hi)
            return (lo, hi) if float(graph.weights[other].max()) < lo else None
    return None
