"""First and second moments of what layers read: all that ``rounding`` and ``bias`` need of the calibration samples.

The error of a layer's output is its rounded weight's error times a patch; so its mean follows from the
patches' mean and its power from their second moments, and no sample need be kept: sums stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edgekit.graph import Array, Graph
from edgekit.quantize.layer import Layer
from edgekit.quantize.patch import patches, positions

__all__ = ["TAPS_MAX", "Gatherer", "Moments", "blocks", "in_memory"]

TAPS_MAX = 1536
"""Longest stretch of a row whose second moments are kept together, 9 MiB of them: longer rows are cut."""

_POSITIONS_PER_TAP = 12
_POSITIONS_MIN = 512
_HELD_BYTES = 16 << 20


@dataclass(frozen=True)
class Moments:
    """Moments of the patches of one layer.

    Attributes
    ----------
    mean
        float64 [groups, taps].
    covariances
        Of the stretches that ``blocks`` cuts a row into: float64 [groups, block, block] each.
    count
        How many patches were seen.
    """

    mean: Array
    covariances: tuple[Array, ...]
    count: int


def blocks(taps: int) -> tuple[slice, ...]:
    """Cut a row into stretches of equal length, none above ``TAPS_MAX``."""
    parts = -(-taps // TAPS_MAX)
    edges = np.linspace(0, taps, parts + 1).round().astype(int).tolist()
    return tuple(slice(a, b) for a, b in pairwise(edges))


def in_memory(found: Sequence[Layer], budget_bytes: int) -> Iterator[tuple[Layer, ...]]:
    """Divide layers, in order, into runs whose moments fit into a budget together; one that does not fit alone is alone."""
    run: list[Layer] = []
    held = 0
    for layer in found:
        size = 4 * layer.groups * sum((cut.stop - cut.start) ** 2 for cut in blocks(layer.taps))
        if run and held + size > budget_bytes:
            yield tuple(run)
            run, held = [], 0
        run.append(layer)
        held += size
    if run:
        yield tuple(run)


class Gatherer:
    """Sums the moments of layers while samples stream by.

    Parameters
    ----------
    samples
        How many will come: each gives the fewer positions, the more there are.
    """

    def __init__(self, graph: Graph, found: Iterable[Layer], samples: int) -> None:
        self._graph, self._layers = graph, tuple(found)
        self._generator = np.random.default_rng(0)
        self._wanted = {layer.node.name: self._draws(layer, samples) for layer in self._layers}
        self._held: dict[str, list[Array]] = {name: [] for name in self._wanted}
        self._held_bytes = 0
        self._origins: dict[str, Array] = {}
        self._sums: dict[str, Array] = {}
        self._grams: dict[str, list[Array]] = {}
        self._counts = dict.fromkeys(self._wanted, 0)

    def _draws(self, layer: Layer, samples: int) -> int:
        wanted = max(_POSITIONS_MIN, _POSITIONS_PER_TAP * min(layer.taps, TAPS_MAX))
        return min(positions(self._graph, layer), -(-wanted // max(1, samples)))

    def add(self, values: Mapping[str, Array]) -> None:
        """Take one sample: arrays by tensor name, of what every layer reads."""
        for layer in self._layers:
            name = layer.node.name
            drawn = patches(self._graph, layer, values[layer.x], self._wanted[name], self._generator)
            self._held[name].append(drawn)
            self._held_bytes += drawn.nbytes
        if self._held_bytes >= _HELD_BYTES:
            self._sum()

    def _sum(self) -> None:
        for layer in self._layers:
            name = layer.node.name
            if not self._held[name]:
                continue
            drawn = np.concatenate(self._held[name], axis=2)
            self._held[name] = []
            cuts = blocks(layer.taps)
            if name not in self._sums:
                # Moments about something near the mean: else a large mean would swallow the digits of a small variance.
                self._origins[name] = drawn.mean(axis=2, keepdims=True)
                self._sums[name] = np.zeros(drawn.shape[:2], np.float64)
                self._grams[name] = [np.zeros((layer.groups, c.stop - c.start, c.stop - c.start), np.float32) for c in cuts]
            drawn -= self._origins[name]
            self._sums[name] += drawn.sum(axis=2, dtype=np.float64)
            for gram, cut in zip(self._grams[name], cuts, strict=True):
                part = drawn[:, cut]
                gram += part @ part.transpose(0, 2, 1)
            self._counts[name] += drawn.shape[2]
        self._held_bytes = 0

    def moments(self, layer: Layer) -> Moments:
        """Return the moments of one layer over all samples so far."""
        self._sum()
        name, count = layer.node.name, self._counts[layer.node.name]
        off = self._sums[name] / count
        covariances = []
        for gram, cut in zip(self._grams[name], blocks(layer.taps), strict=True):
            part = off[:, cut]
            covariances.append(gram.astype(np.float64) / count - part[:, :, None] * part[:, None, :])
        return Moments(off + self._origins[name][..., 0], tuple(covariances), count)
