"""Order of axes: ONNX images are NCHW, TFLite's are NHWC. Used by ``emission``, ``border`` and the lowerings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

__all__ = ["TO_NHWC", "TO_ONNX", "Layout", "axis_in", "in_layout", "order_survives", "permuted"]

T = TypeVar("T")

Layout = Literal["onnx", "nhwc"]
"""Order of a tensor's axes in the file: as ONNX has them, or channels last (4-D only)."""

TO_NHWC, TO_ONNX = (0, 2, 3, 1), (0, 3, 1, 2)


def permuted(shape: Sequence[int], perm: Sequence[int]) -> tuple[int, ...]:
    """Return a shape with its axes in another order."""
    return tuple(shape[axis] for axis in perm)


def in_layout(values: Sequence[T], layout: Layout) -> list[T]:
    """Reorder one value per ONNX axis as the axes stand in the file."""
    return [values[axis] for axis in TO_NHWC] if layout == "nhwc" else list(values)


def axis_in(axis: int, layout: Layout) -> int:
    """Return where an ONNX axis (0 or greater) stands in the file."""
    return TO_NHWC.index(axis) if layout == "nhwc" else axis


def order_survives(shape: Sequence[int], perm: Sequence[int] = TO_NHWC) -> bool:
    """Tell whether a shape means the same sequence of values with its axes in another order: no two long ones change places."""
    long = [axis for axis in perm if shape[axis] != 1]
    return long == sorted(long)
