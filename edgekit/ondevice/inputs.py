"""A sample's arrays and an artifact's inputs: which belongs to which, and each array as the input takes it.

The runner of any runtime calls `encode` before it sets its inputs; the passes over a set call `shapes`. An input is described by a table:
``name``, ``dtype``, ``shape``, and ``scale`` and ``zero_point``, None where it is not quantized.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Iterable

from .samples import Sample
from .wire import AgentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["digest", "encode", "shapes", "whole"]


def shapes(inputs: list[dict[str, Any]], arrays: Iterable[str]) -> dict[str, list[int]]:
    """Return the shape that each array must take."""
    return {array: described["shape"] for described, array in _pairs(inputs, list(arrays))}


def encode(inputs: list[dict[str, Any]], sample: Sample) -> list[NDArray[Any]]:
    """Return what to set each input to, in their order.

    Real values are rounded half to even where the input is quantized or wants whole numbers; whole numbers must fit its type.
    """
    return [_encoded(described, array, sample[array]) for described, array in _pairs(inputs, list(sample))]


def digest(inputs: list[dict[str, Any]], sample: Sample) -> str:
    """Return 32 hexadecimal digits that stand for all that the inputs are set to: types, shapes and bytes."""
    told = hashlib.sha256()
    for value in encode(inputs, sample):
        told.update(("%s %s " % (value.dtype, value.shape)).encode("ascii"))
        told.update(value.tobytes())
    return told.hexdigest()[:32]


def whole(value: NDArray[Any], dtype: str, name: str) -> NDArray[Any]:
    """Return whole numbers or truth values in another such type; refuse what that cannot hold."""
    import numpy as np

    if value.dtype == dtype:
        return value
    low, high = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if value.size and not low <= int(value.min()) <= int(value.max()) <= high:
        raise AgentError("input", "%s holds values from %d to %d, and %s ends at %d" % (name, value.min(), value.max(), dtype, high))
    return value.astype(dtype)


def _pairs(inputs: list[dict[str, Any]], arrays: list[str]) -> list[tuple[dict[str, Any], str]]:
    if len(inputs) == len(arrays) == 1:  # one array for one input: nothing to tell apart, whatever it is called
        return [(inputs[0], arrays[0])]
    names = [described["name"] for described in inputs]
    if sorted(names) != sorted(arrays):
        raise AgentError("input", "the model's inputs are %s; the samples hold %s" % (", ".join(names), ", ".join(sorted(arrays))))
    return list(zip(inputs, names))


def _encoded(described: dict[str, Any], name: str, value: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    dtype, scale, real = described["dtype"], described["scale"], value.dtype.kind == "f"
    if list(value.shape) != described["shape"]:
        raise AgentError("input", "the model wants %s, the preprocessed sample is %s" % (described["shape"], list(value.shape)))
    if dtype.startswith("float"):
        return value.astype(dtype, copy=False)
    if scale is None and not real:
        return whole(value, dtype, name)
    if dtype == "bool":
        raise AgentError("input", "the model wants truth values, the sample's %s is %s" % (name, value.dtype))
    if scale is not None:
        value = value.astype(np.float32, copy=False) / np.float32(scale)
    bounds = np.iinfo(dtype)
    rounded: NDArray[Any] = np.clip(np.rint(value) + (described["zero_point"] or 0), bounds.min, bounds.max)
    return rounded.astype(dtype, copy=False)
