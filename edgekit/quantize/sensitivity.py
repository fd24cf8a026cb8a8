"""Which layers the quantization error of the output comes from: the order in which to keep them in float.

``pipeline.budget`` reads ``ranking`` only as far as it must. Everything here runs on a few calibration samples, so that
the evaluation set stays unseen until a plan is judged on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnxruntime

from edgekit.graph import Array, Graph
from edgekit.plan import QuantPlan, asymmetric_int8, symmetric_int8
from edgekit.quantize import observe, simulate
from edgekit.quantize.mixed import layer_names, neighbours

__all__ = ["Quantized", "Step", "ranking"]

Quantized = Callable[[Sequence[str]], tuple[Graph, QuantPlan]]
"""Gives the quantized graph, weights and biases included, and its plan, with these layers kept in float."""

Samples = Sequence[Mapping[str, Array]]

_FIRST_LAYERS = 64
"""How many layers are tried in the whole network at first; the local measure picks them where there are more."""

_RETRIES = 8
"""How many candidates are measured again after a choice before the best of these is taken."""


@dataclass(frozen=True)
class Step:
    """The next layers to keep in float, and what that is worth.

    Attributes
    ----------
    layers
        One, or those on both ends of a tensor: its rounding only goes when all of them are float.
    share
        Part of the output's error power, as it was with every layer in int8, that goes with them.
    """

    layers: tuple[str, ...]
    share: float

    @property
    def why(self) -> str:
        """The reason in words, for the plan."""
        if len(self.layers) == 1:
            return f"{self.share:.1%} of the output's quantization error goes with it in float"
        return f"{self.share:.1%} of the output's quantization error goes with {' and '.join(self.layers)} in float"


def ranking(
    graph: Graph, quantized: Quantized, samples: Iterable[Mapping[str, Array]], *, progress: observe.Progress = lambda *_: None
) -> Iterator[Step]:
    """Yield layers to keep in float, those that rid the output of most error per layer first.

    A local measure (the rounding noise of a layer's weights and result beside their power) picks whom to try; the
    error of the network's output, with the candidate in float and all else as it is, decides. Gains shrink as more is
    in float, so the candidate that leads is measured again before it is taken: the lazy greedy method (M. Minoux,
    "Accelerated greedy algorithms for maximizing submodular set functions", 1978).

    Parameters
    ----------
    graph
        The float graph that the plan is of.
    samples
        A few preprocessed calibration samples, one each; all are kept in memory.
    progress
        Called with the stage ``"rank layers"``.
    """
    feeds = list(samples)
    _, plan = quantized(())
    error = _OutputError(graph, quantized, feeds)
    whole = error.of(())
    names = layer_names(graph, plan)
    if not names or whole == 0.0:
        return
    layers = _by_local_noise(graph, plan, names, feeds)[:_FIRST_LAYERS]
    candidates = _candidates(graph, layers)
    gains: dict[tuple[str, ...], float] = {}
    for done, candidate in enumerate(candidates):
        progress("rank layers", done, len(candidates))
        gains[candidate] = whole - error.of(candidate)
    progress("rank layers", len(candidates), len(candidates))
    kept: tuple[str, ...] = ()
    left = whole
    while candidates := [c for c in gains if set(c) - set(kept)]:
        best = _leading(candidates, gains, kept, partial(_gain, error, left, kept))
        added = tuple(name for name in best if name not in kept)
        kept, before = _joined(kept, best), left
        left = error.of(kept)
        yield Step(added, (before - left) / whole)


def _leading(
    candidates: list[tuple[str, ...]],
    gains: dict[tuple[str, ...], float],
    kept: Sequence[str],
    gain: Callable[[tuple[str, ...]], float],
) -> tuple[str, ...]:
    """Return the candidate with the greatest gain per added layer; measures again as many as could lead."""

    def per_layer(candidate: tuple[str, ...]) -> float:
        return gains[candidate] / len(set(candidate) - set(kept))

    fresh: set[tuple[str, ...]] = set()
    for _ in range(_RETRIES):
        leader = max(candidates, key=per_layer)
        if leader in fresh:
            return leader
        gains[leader] = gain(leader)
        fresh.add(leader)
    return max(fresh, key=per_layer)


def _gain(error: _OutputError, left: float, kept: Sequence[str], candidate: tuple[str, ...]) -> float:
    return left - error.of(_joined(kept, candidate))


def _joined(kept: Sequence[str], candidate: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*kept, *candidate)))


def _candidates(graph: Graph, layers: Sequence[str]) -> list[tuple[str, ...]]:
    """Return each layer by itself, and each with those that read it: only so its result goes unrounded."""
    readers = neighbours(graph, layers)
    pairs = [(name, *readers[name]) for name in layers if readers[name]]
    return [*((name,) for name in layers), *pairs]


class _OutputError:
    """The error power of the outputs relative to float's, summed over outputs and samples; remembers what it measured."""

    def __init__(self, graph: Graph, quantized: Quantized, feeds: Samples) -> None:
        self._quantized, self._feeds = quantized, feeds
        self._names = [spec.name for spec in graph.outputs]
        exact = observe.session(graph)
        self._float = [exact.run(self._names, dict(feed)) for feed in feeds]
        self._known: dict[frozenset[str], float] = {}

    def of(self, kept: Sequence[str]) -> float:
        key = frozenset(kept)
        if key not in self._known:
            runner = simulate.session(simulate.simulate(*self._quantized(kept)))
            self._known[key] = sum(self._one(runner, feed, want) for feed, want in zip(self._feeds, self._float, strict=True))
        return self._known[key]

    def _one(self, runner: onnxruntime.InferenceSession, feed: Mapping[str, Array], wanted: Sequence[Array]) -> float:
        found = runner.run(self._names, dict(feed))
        powers = [max(float(np.square(w, dtype=np.float64).sum()), 1e-30) for w in wanted]
        return sum(float(np.square(w - g, dtype=np.float64).sum()) / p for w, g, p in zip(wanted, found, powers, strict=True))


def _by_local_noise(graph: Graph, plan: QuantPlan, layers: Sequence[str], feeds: Samples) -> list[str]:
    """Sort layers by the rounding noise of their weights and result beside their power, the noisiest first."""
    wanted = set(layers)
    power = _mean_squares(graph, {node.outputs[0] for node in graph.nodes if node.name in wanted}, feeds)
    noise = {}
    for node in graph.nodes:
        if node.name in wanted:
            interval = plan.ranges[node.outputs[0]]
            symmetric = symmetric_int8(interval.lo, interval.hi)
            step = symmetric if plan.scheme.symmetric else asymmetric_int8(interval.lo, interval.hi)[0]
            # A rounding error is uniform within a step: its variance is step^2 / 12.
            relative = step * step / 12 / max(power[node.outputs[0]], 1e-30)
            for name in node.inputs:
                if name in plan.weights:
                    weight = graph.weights[name]
                    missed = float(np.square(weight - simulate.on_grid(weight, plan.weights[name]), dtype=np.float64).sum())
                    relative += missed / max(float(np.square(weight, dtype=np.float64).sum()), 1e-30)
            noise[node.name] = relative
    return sorted(noise, key=lambda name: -noise[name])


def _mean_squares(graph: Graph, names: Iterable[str], feeds: Samples) -> dict[str, float]:
    wanted = sorted(names)
    runner = observe.session(graph, wanted)
    sums = dict.fromkeys(wanted, 0.0)
    for feed in feeds:
        for name, array in zip(wanted, runner.run(wanted, dict(feed)), strict=True):
            sums[name] += float(np.square(array, dtype=np.float64).mean()) / len(feeds)
    return sums
