"""Several operators in a row for one node that only moves values: each into a tensor between, the last into the output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from edgekit.graph import Array
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import Layout

__all__ = ["Step", "chained", "picked"]


class Step(NamedTuple):
    """One operator: the shape it makes, in the file's order, and what writes it, given its input and its output."""

    shape: Sequence[int]
    write: Callable[[int, int], None]


def chained(e: Emission, name: str, layout: Layout, source: int, steps: Sequence[Step]) -> None:
    """Write steps between tensors of one scale; the last makes the output ``name``, which is declared here."""
    if not steps:
        e.hand_on(name, layout, source)
    for number, step in enumerate(steps, start=1):
        target = e.declare(name, layout) if number == len(steps) else e.like(name, f"{name}/step", shape=step.shape)
        step.write(source, target)
        source = target


def picked(e: Emission, shape: Sequence[int], places: Iterable[tuple[int, Array]]) -> list[Step]:
    """Return the steps that pick constant places along axes of the file: a GATHER for each axis."""

    def step(size: Sequence[int], axis: int, indices: Array) -> Step:
        return Step(size, lambda source, target: e.gather(source, target, axis, indices))

    steps, size = [], list(shape)
    for axis, indices in places:
        size[axis] = len(indices)
        steps.append(step(tuple(size), axis, indices))
    return steps
