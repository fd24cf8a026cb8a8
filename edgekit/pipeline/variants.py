"""Ways to preprocess an image that people mix up: what `edgekit.pipeline.canary` tries beside the declared one."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from itertools import product
from typing import Literal

import msgspec
import numpy as np

from edgekit.graph import Array
from edgekit.preprocess import Preprocess

__all__ = ["LAYOUTS", "Layout", "settings", "variants"]

Color = Literal["rgb", "bgr", "gray"]
Layout = Literal["nchw", "nhwc"]
LAYOUTS: tuple[Layout, ...] = ("nchw", "nhwc")

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's RGB in 0..1: torchvision.transforms, "Normalize", and most of its models."""

_CAFFE = (103.939, 116.779, 123.68)
"""Mean of ImageNet's BGR in 0..255: Keras, ``imagenet_utils.preprocess_input`` in its mode "caffe", and Caffe's own models."""

_ALIKE = 0.02
"""Two ways that differ by less than this part of an image's span are one: (x - 127) / 128 and x / 127.5 - 1."""


def variants(declared: Preprocess, channels: int, layouts: Collection[Layout]) -> dict[str, Preprocess]:
    """Return the ways that differ from the declared one, by what `settings` says of them.

    Channel order, scale by 1/255 or none, and the customary means and standard deviations.

    Parameters
    ----------
    channels
        Of the raw image, which is uint8.
    layouts
        Those that give the network's shape.
    """
    colors: list[Color] = [declared.color]
    if channels == 3 and declared.color != "gray":
        colors += ["bgr" if declared.color == "rgb" else "rgb"]
    width = 1 if declared.color == "gray" else channels
    known = [_effect(declared, width)]
    found = {}
    for color, layout in product(colors, sorted(layouts, key=lambda layout: layout != declared.layout)):
        for scale, mean, std in _normalisations(declared, color, width):
            other = msgspec.structs.replace(declared, color=color, layout=layout, scale=scale, mean=mean, std=std)
            effect = _effect(other, width)
            if not any(_are_alike(effect, one) for one in known):
                known.append(effect)
                found[settings(declared, other)] = other
    return found


def _normalisations(declared: Preprocess, color: Color, channels: int) -> Iterator[tuple[float, tuple[float, ...], tuple[float, ...]]]:
    """Yield scale, mean and std: the declared ones first, then these without a part, then the customary ones."""
    yield declared.scale, declared.mean, declared.std
    yield 1 / 255, declared.mean, declared.std
    yield 1.0, declared.mean, declared.std
    yield declared.scale, (), ()
    yield 1.0, (), ()
    yield 1 / 255, (), ()
    yield 1 / 127.5, (1.0,), ()
    if channels == 3:
        order = -1 if color == "bgr" else 1
        yield 1 / 255, _IMAGENET[0][::order], _IMAGENET[1][::order]
        if color == "bgr":
            yield 1.0, _CAFFE, ()


def settings(declared: Preprocess, other: Preprocess) -> str:
    """Return the keys of ``[preprocess]`` in which another way differs, as TOML: ``color = "bgr", scale = 1.0``."""
    pairs = zip(msgspec.to_builtins(other).items(), msgspec.to_builtins(declared).values(), strict=True)
    # Numbers, strings and arrays of them are spelled the same in JSON and TOML.
    return ", ".join(f"{key} = {json.dumps(value)}" for (key, value), old in pairs if value != old)


def _effect(preprocess: Preprocess, channels: int) -> tuple[str, str, Array]:
    """Return what tells ways apart: where channels go, and float64 [2, channels], what becomes of black and of white."""
    ends = np.array([[0.0], [255.0]]) * np.ones(channels) * preprocess.scale
    return preprocess.color, preprocess.layout, (ends - (preprocess.mean or 0.0)) / (preprocess.std or 1.0)


def _are_alike(one: tuple[str, str, Array], other: tuple[str, str, Array]) -> bool:
    span = np.abs(one[2][1] - one[2][0])
    return one[:2] == other[:2] and bool((np.abs(one[2] - other[2]) <= _ALIKE * span).all())
