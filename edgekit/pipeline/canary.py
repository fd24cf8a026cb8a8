"""The preprocessing canary: whether the *float* model scores clearly better when its inputs are prepared another way.

Wrong preprocessing costs more accuracy than any quantization, and no later step can see it: float and int8 are wrong
alike. ``debug`` calls ``canary``, and ``build`` may with few samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np

from edgekit.comparison import tango
from edgekit.dataset import Dataset
from edgekit.explanation import Finding, Preprocessing, Variant
from edgekit.feed import Feed, bind
from edgekit.graph import Array, Graph
from edgekit.ondevice.samples import Samples
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.variants import LAYOUTS, Layout, variants
from edgekit.pipeline.verify import class_count
from edgekit.preprocess import Preprocess
from edgekit.quantize.observe import run_float, session

__all__ = ["canary", "finding"]

CONFIDENCE = 0.99
"""That no alarm is false, all variants together: each is judged at 1 - 0.01 / variants (Bonferroni)."""

GAIN_MIN = 0.02
"""Two points of top-1. Less is no evidence of a mistake: networks are indifferent to small changes of scale."""

_BLOCK = 16
_BEHIND = 2.0
"""A variant drops out when it is two standard errors behind the leader: that can only lose alarms, never raise one."""


def canary(graph: Graph, feed: Feed, evaluation: Dataset, *, samples_max: int, progress: Progress = silent) -> Preprocessing | None:
    """Score the float model on labelled images, as declared and under variants of the declaration.

    A race (O. Maron and A. W. Moore, "Hoeffding races", NIPS 1994): all variants run on the same samples, block by block,
    and those that fall behind drop out, by how far the label's score stands out from the others: that tells more per sample
    than right or wrong. Of what is left after the last sample the best is judged by right and wrong: it is *better*
    when the lower bound of the paired difference (`edgekit.comparison.tango`) is above 0 at ``CONFIDENCE`` and the
    difference is at least ``GAIN_MIN``.

    Parameters
    ----------
    graph
        The float network.
    feed
        The declared preprocessing, bound to its inputs.
    samples_max
        How many samples of the evaluation set to use at most, drawn from all of it: it may be sorted by class.
    progress
        Called with the stage ``"check preprocessing"``.

    Returns
    -------
    None where there is nothing to score: no labels, no classes, or an input that is not made of one uint8 image.
    """
    others = _variants(graph, feed, evaluation)
    if evaluation.labels is None or not others:
        return None
    race = _Race(graph, {"": feed, **{key: bind(other, graph.inputs, evaluation) for key, other in others.items()}})
    # The same samples in every run: the canary is as deterministic as the build.
    order = [int(number) for number in np.random.default_rng(0).permutation(len(evaluation))[:samples_max]]
    progress("check preprocessing", 0, len(order))
    with Samples(evaluation.container) as samples:
        for start in range(0, len(order), _BLOCK):
            for number in order[start : start + _BLOCK]:
                race.run(samples[number], evaluation.labels[number])
            progress("check preprocessing", min(start + _BLOCK, len(order)), len(order))
            if not race.drop_behind():
                break
    progress("check preprocessing", len(order), len(order))
    return race.verdict(len(others))


def _variants(graph: Graph, feed: Feed, evaluation: Dataset) -> dict[str, Preprocess]:
    """Return what to try; nothing where the network does not classify, or its only steps are not for one uint8 image."""
    classes = class_count(graph.outputs[0].shape)
    if classes is None or classes < 2 or len(feed.processed) != 1:
        return {}
    (array,) = feed.processed
    images = (example.arrays[array] for example in evaluation.examples)
    channels = {image.shape[-1] if image.ndim == 3 and image.dtype == np.uint8 else 0 for image in images}
    if len(channels) != 1 or 0 in channels:
        return {}
    spec = next(spec for spec, own in zip(feed.inputs, feed.arrays, strict=True) if own == array)

    def fits(layout: Layout) -> bool:
        other = bind(msgspec.structs.replace(feed.preprocess, layout=layout), graph.inputs, evaluation)
        return all(other(example.arrays)[spec.name].shape == spec.shape for example in evaluation.examples)

    return variants(feed.preprocess, channels.pop(), [layout for layout in LAYOUTS if fits(layout)])


class _Race:
    """The declared preprocessing, under the key ``""``, and the variants that have not dropped out, on the samples so far."""

    def __init__(self, graph: Graph, feeds: Mapping[str, Feed]) -> None:
        self._runner, self._output = session(graph), graph.outputs[0].name
        self._feeds = dict(feeds)
        self._scores: dict[str, list[float]] = {key: [] for key in feeds}
        self._right: dict[str, list[bool]] = {key: [] for key in feeds}

    def run(self, sample: Mapping[str, Array], label: int) -> None:
        for key, feed in self._feeds.items():
            (output,) = run_float(self._runner, [self._output], feed(sample))
            scores = _logits(output.reshape(-1).astype(np.float64))
            spread = float(scores.std())
            self._scores[key].append(float(scores[label] - scores.mean()) / spread if spread else 0.0)
            self._right[key].append(int(scores.argmax()) == label)

    def drop_behind(self) -> bool:
        """Drop the variants that are behind the leader; tell whether any is left."""
        leader = max(self._feeds, key=lambda key: sum(self._scores[key]))
        for key in [key for key in self._feeds if key not in ("", leader)]:
            ahead = np.subtract(self._scores[key], self._scores[leader])
            if ahead.mean() + _BEHIND * ahead.std() / math.sqrt(ahead.size) < 0.0:
                del self._feeds[key]
        return len(self._feeds) > 1

    def verdict(self, tried: int) -> Preprocessing:
        declared = np.array(self._right[""])
        found = [Variant(key, int(np.sum(self._right[key])), declared.size) for key in self._feeds]
        best = max(found, key=lambda variant: variant.right)
        right = np.array(self._right[best.settings])
        gains, losses = int(np.sum(right & ~declared)), int(np.sum(~right & declared))
        low, _ = tango(gains, losses, declared.size, 1 - 2 * (1 - CONFIDENCE) / tried)
        is_better = low > 0.0 and gains - losses >= GAIN_MIN * declared.size
        return Preprocessing(
            declared=found[0], better=best if is_better else None, low=low if is_better else None, confidence=CONFIDENCE, tried=tried
        )


def _logits(scores: Array) -> Array:
    """Return scores whose differences mean the same everywhere: the logarithm of probabilities, others as they are."""
    if scores.min() >= 0.0 and abs(float(scores.sum()) - 1.0) < 1e-3:
        logits: Array = np.log(np.maximum(scores, 1e-12))
        return logits
    return scores


def finding(checked: Preprocessing) -> Finding | None:
    """Say what the canary found, when a variant is better."""
    if checked.better is None:
        return None
    declared, better = checked.declared, checked.better
    scores = [f"{variant.right / variant.n:.0%}" for variant in (declared, better)]
    text = f"the float model scores {scores[0]} as declared, and {scores[1]} with {better.settings} ({better.n} samples)"
    return Finding("preprocessing", None, text, f"{better.settings} under [preprocess]")
