"""From a raw sample to the network's float32 input: resize, crop, colour, normalise, layout.

The same file runs on the board and on the host (calibration, verification), so that both see the same bytes. numpy only.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .wire import AgentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["apply", "check", "resize", "run"]

DEFAULTS: dict[str, Any] = {"resize": None, "crop": None, "filter": "bilinear", "color": "rgb"}
DEFAULTS.update(scale=1.0, mean=[], std=[], layout="nchw")
CHOICES = {"filter": ("bilinear", "bicubic", "nearest"), "color": ("rgb", "bgr", "gray"), "layout": ("nchw", "nhwc")}
SIDE_MAX = 16384
# Pillow, src/libImaging/Resample.c: 32 bits hold 8 of pixel, 2 of headroom for filters with negative lobes, and the rest of coefficient.
PRECISION_BITS = 32 - 8 - 2


def check(declared: dict[str, Any]) -> dict[str, Any]:
    """Return the declaration with its defaults filled in, or refuse it.

    Raises
    ------
    AgentError
        Kind ``input``, with the key.
    """
    unknown = sorted(set(declared) - set(DEFAULTS))
    if unknown:
        raise AgentError("input", "preprocess: unknown key %.100r" % unknown[0])
    full: dict[str, Any] = {**DEFAULTS, **declared}
    for key, choices in CHOICES.items():
        if full[key] not in choices:
            raise AgentError("input", "preprocess.%s must be one of %s" % (key, ", ".join(choices)))
    for key in ("resize", "crop"):
        value = full[key]
        sides = value if isinstance(value, (list, tuple)) and len(value) == 2 else [value] if key == "resize" else [None]
        if value is not None and not all(type(side) is int and 1 <= side <= SIDE_MAX for side in sides):
            raise AgentError("input", "preprocess.%s must be [height, width] of 1 to %d" % (key, SIDE_MAX))
    for key, values in (("scale", [full["scale"]]), ("mean", full["mean"]), ("std", full["std"])):
        if not isinstance(values, (list, tuple)) or not all(type(v) in (int, float) and math.isfinite(v) for v in values):
            raise AgentError("input", "preprocess.%s must hold finite numbers" % key)
    if not all(full["std"]):
        raise AgentError("input", "preprocess.std must not hold 0")
    return full


def apply(declared: dict[str, Any], sample: NDArray[Any]) -> NDArray[Any]:
    """Turn one raw sample into the network's input.

    Parameters
    ----------
    declared
        The ``preprocess`` table of the project or the manifest.
    sample
        An image, uint8 ``[height, width, channels]`` in RGB order, or anything else, which skips the image steps.

    Returns
    -------
    ndarray
        float32, with a leading batch axis of 1: ``(x * scale - mean) / std``.

    Raises
    ------
    AgentError
        Kind ``input``: the declaration is wrong or does not fit the sample.
    """
    return run(check(declared), sample)


def run(steps: dict[str, Any], sample: NDArray[Any]) -> NDArray[Any]:
    """Do what `apply` does with a declaration that `check` returned, for loops that are timed."""
    import numpy as np

    image = sample.ndim == 3
    if image:
        if steps["resize"] is not None:
            sample = resize(sample, *_size(sample, steps["resize"]), steps["filter"])
        if steps["crop"] is not None:
            sample = _crop(sample, *steps["crop"])
        sample = _color(sample, steps["color"])
    value = sample.astype(np.float32)
    if steps["scale"] != 1.0:
        value *= np.float32(steps["scale"])
    for key, operation in (("mean", np.subtract), ("std", np.divide)):
        if len(steps[key]):
            if len(steps[key]) not in (1, value.shape[-1] if value.ndim else 1):
                raise AgentError("input", "preprocess.%s has %d numbers for %s" % (key, len(steps[key]), list(value.shape)))
            operation(value, np.array(steps[key], np.float32).reshape(-1 if value.ndim else ()), out=value)
    if image and steps["layout"] == "nchw":
        value = value.transpose(2, 0, 1)
    return np.ascontiguousarray(value.reshape((1, *value.shape)))


def _size(image: NDArray[Any], wanted: Any) -> tuple[int, int]:
    if not isinstance(wanted, int):
        return wanted[0], wanted[1]
    height, width = image.shape[:2]
    short = max(1, min(height, width))  # the longer side is cut to a whole number, as torchvision's Resize does
    return (wanted, wanted * width // short) if height <= width else (wanted * height // short, wanted)


def _crop(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    if top < 0 or left < 0:
        raise AgentError("input", "preprocess.crop [%d, %d] is larger than the image %s" % (height, width, list(image.shape)))
    return image[top : top + height, left : left + width]


def _color(image: NDArray[Any], color: str) -> NDArray[Any]:
    import numpy as np

    channels = image.shape[2]
    if (channels == 1 and color == "gray") or color == "rgb":
        return image
    if channels != 3:
        raise AgentError("input", "preprocess.color %s needs RGB, the image is %s" % (color, list(image.shape)))
    if color == "bgr":
        return image[:, :, ::-1]
    if image.dtype != np.uint8:
        raise AgentError("input", "preprocess.color gray needs uint8, the image is %s" % image.dtype)
    # ITU-R 601-2 luma in 16-bit fixed point, as Pillow's convert("L").
    luma = image.astype(np.int32) @ np.array([19595, 38470, 7471], np.int32)
    return ((luma + (1 << 15)) >> 16).astype(np.uint8)[:, :, None]


def resize(image: NDArray[Any], height: int, width: int, kernel: str) -> NDArray[Any]:
    """Resize a uint8 image ``[h, w, channels]`` to exactly the bytes that Pillow's ``Image.resize`` gives.

    Two passes, across and then down, each rounded to uint8; when shrinking, the filter widens by the factor. Source of the
    arithmetic: Pillow, Resample.c (``precompute_coeffs``, ``normalize_coeffs_8bpc``) and Geometry.c (``ImagingScaleAffine``).
    Pillow 13 goes down first where the height shrinks and the width does not; here the order is always that of Pillow up to 12.
    """
    import numpy as np

    if image.dtype != np.uint8 or image.ndim != 3 or not image.size:
        raise AgentError("input", "preprocess.resize needs a uint8 image, this is %s %s" % (image.dtype, list(image.shape)))
    if not (1 <= height <= SIDE_MAX and 1 <= width <= SIDE_MAX):
        raise AgentError("input", "preprocess.resize to [%d, %d]: sides go up to %d" % (height, width, SIDE_MAX))
    if kernel == "nearest":
        rows, columns = _nearest(image.shape[0], height), _nearest(image.shape[1], width)
        picked: NDArray[Any] = image[rows[:, None], columns[None, :]]
        return picked
    if image.shape[1] != width:
        image = _pass(image.transpose(1, 0, 2), width, kernel).transpose(1, 0, 2)
    if image.shape[0] != height:
        image = _pass(image, height, kernel)
    return np.ascontiguousarray(image)


def _nearest(size: int, wanted: int) -> NDArray[Any]:
    import numpy as np

    step = size / wanted
    places = np.full(wanted, step)
    places[0] = step * 0.5
    return np.minimum(np.cumsum(places).astype(np.intp), size - 1)  # summed one by one: the rounding is part of the result


def _pass(image: NDArray[Any], wanted: int, kernel: str) -> NDArray[Any]:
    """Resample the first axis."""
    import numpy as np

    first, weights = _coefficients(image.shape[0], wanted, kernel)
    total = np.full((wanted, *image.shape[1:]), 1 << (PRECISION_BITS - 1), np.int32)
    for tap in range(weights.shape[1]):
        rows = np.minimum(first + tap, image.shape[0] - 1)  # past the end the weight is 0
        total += image[rows] * weights[:, tap].reshape((-1,) + (1,) * (image.ndim - 1))
    resampled: NDArray[Any] = np.clip(total >> PRECISION_BITS, 0, 255).astype(np.uint8)
    return resampled


def _coefficients(size: int, wanted: int, kernel: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the first source index of each output, and its weights int32 ``[wanted, taps]`` in fixed point."""
    import numpy as np

    scale = size / wanted
    stretch = max(scale, 1.0)
    support = (1.0 if kernel == "bilinear" else 2.0) * stretch
    center = (np.arange(wanted) + 0.5) * scale
    first = np.maximum((center - support + 0.5).astype(np.int64), 0)
    count = np.minimum((center + support + 0.5).astype(np.int64), size) - first
    taps = np.arange(int(count.max()))
    weights = _weight(np.abs((first[:, None] + taps - center[:, None] + 0.5) * (1.0 / stretch)), kernel)
    weights[taps[None, :] >= count[:, None]] = 0.0
    total = np.cumsum(weights, axis=1)[:, -1:]  # in order, as a C loop adds
    weights = np.divide(weights, total, out=weights, where=total != 0.0) * float(1 << PRECISION_BITS)
    return first, np.trunc(weights + np.copysign(0.5, weights)).astype(np.int32)


def _weight(distance: NDArray[Any], kernel: str) -> NDArray[Any]:
    import numpy as np

    if kernel == "bilinear":
        return np.where(distance < 1.0, 1.0 - distance, 0.0)
    a = -0.5  # Keys' cubic convolution
    near = ((a + 2.0) * distance - (a + 3.0)) * distance * distance + 1.0
    far = (((distance - 5.0) * distance + 8.0) * distance - 4.0) * a
    return np.where(distance < 1.0, near, np.where(distance < 2.0, far, 0.0))
