"""The truth of a sample, as a metric reads it: arrays by name. ``sample`` makes them, ``dataset`` keeps them on the host.

A class is ``label``; a text ``text``, UTF-8 as uint8; a class map ``mask``; a vector ``vector``; boxes ``boxes`` in the image's pixels,
``classes``, ``crowd`` and ``area``. What a ``module:function`` gives as a dict for a metric of its own stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekit.errors import InputError
from edgekit.metrics import Array, Truth

__all__ = ["boxes_truth", "read_truth"]

_FORMS = {
    "text": "a str",
    "mask": "whole numbers [height, width], 255 where none counts",
    "vector": "an array of real numbers",
    "boxes": "a dict with boxes [n, 4] (x, y, width, height) and classes [n], perhaps crowd [n] and area [n], or a COCO annotations.json",
    "any": "a number, a str, an array of numbers, or a dict of such arrays",
}


def read_truth(kind: Truth, value: Any, origin: str) -> dict[str, Array]:
    """Return a sample's truth as arrays.

    Raises
    ------
    InputError
        It is not of the kind that the metric reads.
    """
    try:
        return _checked({"text": _text, "mask": _mask, "vector": _vector, "boxes": _boxes, "any": _any}[kind](value))
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"{origin}: its truth is no {kind}: {error}", fix=f"give {_FORMS[kind]}") from error


def boxes_truth(boxes: Array, classes: Array, crowd: Array | None = None, area: Array | None = None) -> dict[str, Array]:
    """Return the truth of an image: boxes ``[x, y, width, height]``.

    Raises
    ------
    ValueError
        The arrays do not belong together.
    """
    table = np.asarray(boxes, np.float64).reshape(-1, 4)
    kinds = np.asarray(classes, np.int64).reshape(-1)
    crowds = np.zeros(len(table), np.uint8) if crowd is None else np.asarray(crowd, bool).astype(np.uint8).reshape(-1)
    areas = table[:, 2] * table[:, 3] if area is None else np.asarray(area, np.float64).reshape(-1)
    if not len(table) == len(kinds) == len(crowds) == len(areas):
        raise ValueError(f"{len(table)} boxes, {len(kinds)} classes, {len(crowds)} crowds, {len(areas)} areas")
    if (table[:, 2:] < 0).any() or (kinds < 0).any():
        raise ValueError("a side or a class is negative")
    return {"boxes": table, "classes": kinds, "crowd": crowds, "area": areas}


def _checked(truth: dict[str, Array]) -> dict[str, Array]:
    for name, array in truth.items():
        if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and not np.isfinite(array).all()):
            raise ValueError(f"{name} is {array.dtype} and must hold finite numbers")
    return truth


def _text(value: Any) -> dict[str, Array]:
    if isinstance(value, np.ndarray) and value.dtype.kind == "U" and not value.shape:
        value = value.item()
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__}")
    return {"text": np.frombuffer(value.encode("utf-8"), np.uint8)}


def _mask(value: Any) -> dict[str, Array]:
    mask = np.asarray(value)
    if mask.ndim == 3 and 1 in (mask.shape[0], mask.shape[2]):
        mask = mask.reshape(mask.shape[:2] if mask.shape[2] == 1 else mask.shape[1:])
    if mask.ndim != 2 or mask.dtype.kind not in "biu" or (mask.size and not 0 <= int(mask.min()) <= int(mask.max()) <= 65535):
        raise ValueError(f"{mask.dtype} {list(mask.shape)}")
    return {"mask": mask.astype(np.uint16)}


def _vector(value: Any) -> dict[str, Array]:
    vector = np.asarray(value)
    if vector.dtype.kind not in "iuf" or not vector.ndim:
        raise ValueError(f"{vector.dtype} {list(vector.shape)}")
    return {"vector": vector.astype(np.float32)}


def _boxes(value: Any) -> dict[str, Array]:
    if not isinstance(value, Mapping):
        raise TypeError(f"a {type(value).__name__}")
    return boxes_truth(value["boxes"], value["classes"], value.get("crowd"), value.get("area"))


def _any(value: Any) -> dict[str, Array]:
    if isinstance(value, Mapping):
        return {str(name): np.asarray(one) for name, one in value.items()}
    if isinstance(value, str) or (isinstance(value, np.ndarray) and value.dtype.kind == "U"):
        return _text(value)
    array = np.asarray(value)
    return {"vector": array} if array.ndim else {"label": array}
