"""Order of axes: where in the file the axes of an ONNX tensor stand. Used by ``emission``, ``border`` and the lowerings.

A layout is a permutation: which ONNX axis each axis of the file is, in the file's order. Images are NHWC in
the file. A Transpose and most reshapes of the model change no layout of the file, only its name: ``transposed``
and ``reshaped`` say which.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias, TypeVar

from edgekit.graph import Array

__all__ = [
    "NHWC",
    "ONNX",
    "TO_NCHW",
    "Layout",
    "arranged",
    "axis_in",
    "between",
    "in_layout",
    "last",
    "layout_of",
    "order_survives",
    "permuted",
    "reduced",
    "reshaped",
    "restricted",
    "transposed",
]

Layout: TypeAlias = tuple[int, ...]
T = TypeVar("T")

ONNX: Layout = ()
"""As ONNX has the axes, however many."""

NHWC: Layout = (0, 2, 3, 1)
"""Channels last, of four dimensions."""

TO_NCHW = (0, 3, 1, 2)
"""The permutation back from ``NHWC``."""


def layout_of(axes: Iterable[int]) -> Layout:
    """Return the layout with these ONNX axes in this order."""
    order = tuple(axes)
    return ONNX if order == tuple(range(len(order))) else order


def _axes(layout: Layout, rank: int) -> tuple[int, ...]:
    return layout or tuple(range(rank))


def permuted(shape: Sequence[int], layout: Sequence[int]) -> tuple[int, ...]:
    """Return a shape with its axes in another order."""
    return tuple(shape[axis] for axis in layout) if layout else tuple(shape)


def in_layout(values: Sequence[T], layout: Layout) -> list[T]:
    """Reorder one thing per ONNX axis as the axes stand in the file."""
    return [values[axis] for axis in layout] if layout else list(values)


def axis_in(axis: int, layout: Layout) -> int:
    """Return where an ONNX axis (0 or greater) stands in the file."""
    return layout.index(axis) if layout else axis


def arranged(values: Array, layout: Layout) -> Array:
    """Return a constant of full rank as the file has it."""
    return values.transpose(layout) if layout else values


def between(source: Layout, target: Layout, rank: int) -> tuple[int, ...]:
    """Return the permutation that turns one layout into another."""
    return tuple(_axes(source, rank).index(axis) for axis in _axes(target, rank))


def order_survives(shape: Sequence[int], perm: Sequence[int]) -> bool:
    """Tell whether a shape means the same sequence of values with its axes in another order: no two long ones change places."""
    long = [axis for axis in perm if shape[axis] != 1]
    return long == sorted(long)


def last(layout: Layout, axis: int, rank: int) -> Layout:
    """Return the layout nearest to this one that has an axis last."""
    return layout_of([one for one in _axes(layout, rank) if one != axis] + [axis])


def reduced(layout: Layout, axes: Iterable[int], rank: int) -> Layout:
    """Return the layout of what is left of a tensor without some axes."""
    left = [axis for axis in range(rank) if axis not in set(axes)]
    return layout_of(left.index(axis) for axis in _axes(layout, rank) if axis in left)


def restricted(layout: Layout, rank: int, wide: int) -> Layout:
    """Return the layout in which the last ``rank`` of ``wide`` axes stand."""
    new = wide - rank
    return layout_of(axis - new for axis in _axes(layout, wide) if axis >= new)


def transposed(layout: Layout, perm: Sequence[int]) -> Layout:
    """Return the layout in which the file's order holds the result of an ONNX Transpose."""
    return layout_of(perm.index(axis) for axis in _axes(layout, len(perm)))


def reshaped(before: Sequence[int], after: Sequence[int], layout: Layout, *, prefer: Layout = ONNX) -> tuple[Layout, Layout] | None:
    """Return the layout to reshape a tensor from, and the one its values are in afterwards.

    The first is ``layout`` itself where all axes that are merged stand side by side. Else it is the nearest to it in
    which they do, if the result then has a layout with a name, or the axes as ONNX has them. None where the shapes
    have no common divisions.

    Parameters
    ----------
    prefer
        ``ONNX`` or ``NHWC``: of the two the one to call it where both are the same order.
    """
    groups = _groups(before, after)
    if groups is None:
        return None
    of = {axis: number for number, (olds, _) in enumerate(groups) for axis in olds}
    source: list[int] = []
    for axis in _axes(layout, len(before)):
        # The first of a group brings the others with it.
        source += [one for one in (groups[of[axis]][0] if axis in of else [axis]) if one not in source]
    order = dict.fromkeys(of[axis] for axis in source if axis in of)
    target = _with_ones([axis for number in order for axis in groups[number][1]], after, prefer)
    near = layout_of(source)
    if not order_survives(permuted(before, layout), between(layout, near, len(before))) and target not in (ONNX, NHWC):
        return ONNX, _with_ones([axis for _, news in groups for axis in news], after, prefer)
    return near, target


def _groups(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]] | None:
    """Pair the fewest axes before with the fewest after that have the same product, ones apart."""
    olds, news = ([axis for axis, size in enumerate(shape) if size != 1] for shape in (before, after))
    groups: list[tuple[list[int], list[int]]] = []
    while olds or news:
        if not olds or not news:
            return None
        old, new = [olds.pop(0)], [news.pop(0)]
        left, right = before[old[0]], after[new[0]]
        while left != right:
            if left < right and olds:
                old.append(olds.pop(0))
                left *= before[old[-1]]
            elif right < left and news:
                new.append(news.pop(0))
                right *= after[new[-1]]
            else:
                return None
        groups.append((old, new))
    return groups


def _with_ones(made: Sequence[int], shape: Sequence[int], prefer: Layout) -> Layout:
    """Return a layout with the long axes in a given order: one that has a name, or else each one before the axis it precedes.

    Those in front of all long axes stay there.
    """
    for named in (prefer, ONNX, NHWC):
        if len(shape) == 4 or not named:
            order = [axis for axis in _axes(named, len(shape)) if shape[axis] != 1]
            if order == list(made):
                return named
    order = list(made)
    front = list(range(min(order, default=0)))
    for axis in reversed([axis for axis, size in enumerate(shape) if size == 1 and axis not in front]):
        order.insert(order.index(axis + 1) if axis + 1 in order else len(order), axis)
    return layout_of([*front, *order])
