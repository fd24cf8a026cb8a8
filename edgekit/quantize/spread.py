"""How the channels of a few tensors spread over a few samples. ``equalise`` decides by it.

A channel's spread is stable long before a tensor's range is: some samples, and of large images every few
positions, say enough. The same samples give the same result.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from edgekit.errors import InputError
from edgekit.graph import Array, Graph
from edgekit.quantize.observe import Progress, run_float, session, single

__all__ = ["SAMPLES_MAX", "Samples", "Spread", "spreads"]

Samples = Callable[[], Iterable[Mapping[str, Array]]]
"""Starts over at each call: samples are read several times."""

SAMPLES_MAX = 32

_POSITIONS_MAX = 1024


@dataclass(frozen=True)
class Spread:
    """Statistics of a tensor, channel by channel.

    Attributes
    ----------
    largest
        float64 [channels]: the largest absolute value.
    mean
        float64 [channels].
    power
        float64 [channels]: mean square.
    covariance
        float64 [channels, channels]; None where it was not asked for.
    """

    largest: Array
    mean: Array
    power: Array
    covariance: Array | None

    @property
    def variance(self) -> Array:
        """float64 [channels]."""
        found: Array = np.maximum(self.power - self.mean**2, 0.0)
        return found


def spreads(
    graph: Graph, axes: Mapping[str, int], correlated: Collection[str], samples: Samples, progress: Progress = lambda *_: None
) -> dict[str, Spread]:
    """Run the first ``SAMPLES_MAX`` samples and return the spread of some inner tensors, by name.

    Parameters
    ----------
    axes
        The tensors, with their channel axis.
    correlated
        Those whose covariance is wanted.

    Raises
    ------
    InputError
        No samples, arrays that do not fit the graph's inputs, or a value that is not finite.
    """
    names = list(axes)
    runner = session(graph, names)
    sums: dict[str, list[Array]] = {}
    counts = dict.fromkeys(names, 0)
    progress("equalise", 0, SAMPLES_MAX)
    done = 0
    for done, feed in enumerate(itertools.islice(single(graph, samples()), SAMPLES_MAX), start=1):
        for name, values in zip(names, run_float(runner, names, feed), strict=True):
            seen = _channels_first(values, axes[name])
            counts[name] += seen.shape[1]
            squares = seen @ seen.T if name in correlated else np.einsum("cp,cp->c", seen, seen)
            found = [np.abs(seen).max(axis=1), seen.sum(axis=1, dtype=np.float64), squares.astype(np.float64)]
            if name in sums:
                sums[name] = [np.maximum(sums[name][0], found[0]), *(a + b for a, b in zip(sums[name][1:], found[1:], strict=True))]
            else:
                sums[name] = found
        progress("equalise", done, SAMPLES_MAX)
    if done == 0:
        raise InputError("there are no calibration samples", fix="name a dataset in edgekit.toml: [calibration] dataset")
    return {name: _spread(name, counts[name], *sums[name]) for name in names}


def _channels_first(values: Array, axis: int) -> Array:
    """Return [channels, positions], of many positions every few."""
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    return np.ascontiguousarray(rows[:, :: -(-rows.shape[1] // _POSITIONS_MAX)])


def _spread(name: str, count: int, largest: Array, total: Array, squares: Array) -> Spread:
    if not np.isfinite(squares).all():
        raise InputError(
            f"tensor {name!r} takes a value that is not finite (NaN or infinity)",
            fix="check the calibration samples and their preprocessing, and run the float model on them",
        )
    mean = total / count
    power = squares / count
    if power.ndim == 1:
        return Spread(largest.astype(np.float64), mean, power, None)
    return Spread(largest.astype(np.float64), mean, np.diagonal(power).copy(), power - np.outer(mean, mean))
