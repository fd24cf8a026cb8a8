"""From a raw sample to the network's inputs: resize, crop, colour, normalise, layout; those that are no images can go in as they are.

The same file runs on the board and on the host (calibration, verification), so that both see the same bytes. numpy only.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .samples import ALONE, Sample
from .wire import AgentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["apply", "check", "feed", "resize", "run", "scaled_size"]

DEFAULTS: dict[str, Any] = {"resize": None, "crop": None, "filter": "bilinear", "color": "rgb"}
DEFAULTS.update(scale=1.0, mean=[], std=[], layout="nchw", inputs=[ALONE], pad={})
CHOICES = {"filter": ("bilinear", "bicubic", "nearest"), "color": ("rgb", "bgr", "gray"), "layout": ("nchw", "nhwc")}
SIDE_MAX = 16384
# Pillow, src/libImaging/Resample.c: 32 bits hold 8 of pixel, 2 of headroom for filters with negative lobes, and the rest of coefficient.
PRECISION_BITS = 32 - 8 - 2


def check(declared: dict[str, Any]) -> dict[str, Any]:
    """Return a ``preprocess`` table with its defaults filled in, or refuse it: `AgentError` of kind ``input``, with the key."""
    full: dict[str, Any] = {**DEFAULTS, **declared}
    if len(full) != len(DEFAULTS):
        raise AgentError("input", "preprocess: unknown key %.100r" % sorted(set(full) - set(DEFAULTS))[0])
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
    if not isinstance(full["inputs"], list) or not all(isinstance(name, str) for name in full["inputs"]):
        raise AgentError("input", "preprocess.inputs must name arrays of the samples")
    pads: list[Any] = list(full["pad"].values()) if isinstance(full["pad"], dict) else [None]
    if not all(type(value) in (int, float) and math.isfinite(value) for value in pads):
        raise AgentError("input", "preprocess.pad must hold finite numbers by the name of an array")
    return full


def apply(declared: dict[str, Any], sample: NDArray[Any]) -> NDArray[Any]:
    """Turn one raw sample into the network's input: float32 with a leading batch axis of 1, ``(x * scale - mean) / std``.

    ``declared`` is the ``preprocess`` table of the project or manifest. A sample is an image, uint8 ``[height, width, channels]`` in RGB
    order, or anything else, which skips the image steps.
    """
    return run(check(declared), sample)


def run(steps: dict[str, Any], sample: NDArray[Any]) -> NDArray[Any]:
    """Do what `apply` does with a declaration that `check` returned, for loops that are timed."""
    import numpy as np

    image = sample.ndim == 3
    if image:
        if steps["resize"] is not None:
            sample = resize(sample, *scaled_size(sample.shape[0], sample.shape[1], steps["resize"]), steps["filter"])
        height, width = steps["crop"] or sample.shape[:2]
        top, left = (sample.shape[0] - height) // 2, (sample.shape[1] - width) // 2
        if min(top, left) < 0:
            raise AgentError("input", "preprocess.crop [%d, %d] is larger than the image %s" % (height, width, list(sample.shape)))
        sample = _color(sample[top : top + height, left : left + width], steps["color"])
    value = sample.astype(np.float32)
    if steps["scale"] != 1.0:
        value *= np.float32(steps["scale"])
    for key, operation in (("mean", np.subtract), ("std", np.divide)):
        if len(steps[key]) not in (0, 1, sample.shape[-1] if sample.ndim else 1):
            raise AgentError("input", "preprocess.%s has %d numbers for %s" % (key, len(steps[key]), list(sample.shape)))
        if len(steps[key]):
            operation(value, np.array(steps[key], np.float32).reshape(-1 if value.ndim else ()), out=value)
    if image and steps["layout"] == "nchw":
        value = value.transpose(2, 0, 1)
    return np.ascontiguousarray(value.reshape((1, *value.shape)))


def feed(steps: dict[str, Any], sample: Sample, shapes: dict[str, list[int]]) -> Sample:
    """Turn a sample's arrays into the network's inputs, each with a leading batch axis of 1; names stay.

    The steps apply to the arrays that ``steps["inputs"]`` names; others, as token ids and masks, go in as they are. An array that
    ``steps["pad"]`` gives a value is padded with it, at the end of each axis that is shorter than in ``shapes``.
    """
    import numpy as np

    fed = {}
    for name, array in sample.items():
        value = run(steps, array) if name in steps["inputs"] else np.ascontiguousarray(array).reshape((1, *array.shape))
        missing = [max(0, want - have) for want, have in zip(shapes[name], value.shape)] if name in steps["pad"] else []
        if any(missing) and len(shapes[name]) == value.ndim:
            filler = np.array(steps["pad"][name]).astype(value.dtype)
            if filler != steps["pad"][name]:
                raise AgentError("input", "preprocess.pad: %s is %s, which %r is not" % (name, value.dtype, steps["pad"][name]))
            value = np.pad(value, [(0, count) for count in missing], constant_values=filler)
        fed[name] = value
    return fed


def scaled_size(height: int, width: int, wanted: Any) -> tuple[int, int]:
    """Return the height and width that an image gets by ``resize``."""
    if not isinstance(wanted, int):
        return wanted[0], wanted[1]
    short = max(1, min(height, width))  # the longer side is cut to a whole number, as torchvision's Resize does
    return wanted * height // short, wanted * width // short


def _color(image: NDArray[Any], color: str) -> NDArray[Any]:
    if color == "rgb" or (color == "gray" and image.shape[2] == 1):
        return image
    if image.shape[2] != 3 or (color == "gray" and image.dtype != "uint8"):
        raise AgentError("input", "preprocess.color %s needs an RGB image, this is %s %s" % (color, image.dtype, list(image.shape)))
    if color == "bgr":
        return image[:, :, ::-1]
    # ITU-R 601-2 luma in 16-bit fixed point, as Pillow's convert("L").
    red, green, blue = image.astype("int32").transpose(2, 0, 1)
    gray: NDArray[Any] = (red * 19595 + green * 38470 + blue * 7471 + (1 << 15)) >> 16
    return gray.astype("uint8")[:, :, None]


def resize(image: NDArray[Any], height: int, width: int, kernel: str) -> NDArray[Any]:
    """Resize a uint8 image ``[h, w, channels]`` to exactly the bytes that Pillow's ``Image.resize`` gives.

    Two passes, across and then down, each rounded to uint8; when shrinking, the filter widens by the factor. Source of the
    arithmetic: Pillow, Resample.c (``precompute_coeffs``, ``normalize_coeffs_8bpc``) and Geometry.c (``ImagingScaleAffine``).
    Pillow 13 goes down first where the height shrinks and the width does not; here the order is always that of Pillow up to 12.
    """
    import numpy as np

    if image.dtype != np.uint8 or image.ndim != 3 or not image.size:
        raise AgentError("input", "preprocess.resize needs a uint8 image, this is %s %s" % (image.dtype, list(image.shape)))
    if max(height, width) > SIDE_MAX or min(height, width) < 1:
        raise AgentError("input", "preprocess.resize to [%d, %d]: sides go up to %d" % (height, width, SIDE_MAX))
    for axis, wanted in ((1, width), (0, height)):
        size = image.shape[axis]
        if kernel == "nearest":
            steps = np.full(wanted, size / wanted)
            steps[0] /= 2  # summed one by one below: the rounding is part of the result
            image = image.take(np.minimum(np.cumsum(steps).astype(np.intp), size - 1), axis)
        elif size != wanted:
            first, weights = _weights(size, wanted, kernel)
            source = image if axis == 0 else image.transpose(1, 0, 2)
            total = np.full((wanted, *source.shape[1:]), 1 << (PRECISION_BITS - 1), np.int32)
            for tap in range(weights.shape[1]):
                total += source[np.minimum(first + tap, size - 1)] * weights[:, tap, None, None]  # past the end the weight is 0
            resampled = np.clip(total >> PRECISION_BITS, 0, 255).astype(np.uint8)
            image = resampled if axis == 0 else resampled.transpose(1, 0, 2)
    return np.ascontiguousarray(image)


def _weights(size: int, wanted: int, kernel: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the first source index of each output, and its weights int32 ``[wanted, taps]`` in fixed point."""
    import numpy as np

    scale = size / wanted
    stretch = max(scale, 1.0)
    support = (1.0 if kernel == "bilinear" else 2.0) * stretch
    center = (np.arange(wanted) + 0.5) * scale
    first = np.maximum((center - support + 0.5).astype(np.int64), 0)
    count = np.minimum((center + support + 0.5).astype(np.int64), size) - first
    taps = np.arange(int(count.max()))
    x = np.abs((first[:, None] + taps - center[:, None] + 0.5) * (1.0 / stretch))
    if kernel == "bilinear":
        weights = np.where(x < 1.0, 1.0 - x, 0.0)
    else:  # Keys' cubic convolution with a = -0.5
        near, far = (1.5 * x - 2.5) * x * x + 1.0, (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
        weights = np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
    weights[taps[None, :] >= count[:, None]] = 0.0
    total = np.cumsum(weights, axis=1)[:, -1:]  # in order, as a C loop adds
    weights = np.divide(weights, total, out=weights, where=total != 0.0) * float(1 << PRECISION_BITS)
    return first, np.trunc(weights + np.copysign(0.5, weights)).astype(np.int32)
