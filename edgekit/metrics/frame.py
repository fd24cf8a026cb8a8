"""``Frame``: where a place in a network's input lies in the image that the input was made of. Boxes and masks go back through it.

It undoes the resizing and cropping of ``[preprocess]``; ``postprocess`` and ``scoring`` use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.ondevice.preprocess import scaled_size

__all__ = ["Frame"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Frame:
    """Sizes are ``(height, width)``.

    Attributes
    ----------
    image
        The image as it came.
    resized
        The image as it is resized.
    network
        What is cut out of its centre: the network's input.
    """

    image: tuple[int, int]
    resized: tuple[int, int]
    network: tuple[int, int]

    @classmethod
    def of(cls, preprocess: Mapping[str, Any], image: tuple[int, int]) -> Frame:
        """Return the frame of an image that is preprocessed so (`edgekit.preprocess.Preprocess.to_wire`)."""
        wanted, crop = preprocess.get("resize"), preprocess.get("crop")
        resized = image if wanted is None else scaled_size(*image, wanted)
        return cls(image, resized, resized if crop is None else (int(crop[0]), int(crop[1])))

    @property
    def _cut(self) -> tuple[int, int]:
        return (self.resized[0] - self.network[0]) // 2, (self.resized[1] - self.network[1]) // 2

    def boxes(self, corners: Array) -> Array:
        """Return ``[x, y, width, height]`` in the image of corners in the network's pixels, cut at the image's edges."""
        top, left = self._cut
        across, down = self.image[1] / self.resized[1], self.image[0] / self.resized[0]
        x = np.clip((corners[:, 0::2].astype(np.float64) + left) * across, 0, self.image[1])
        y = np.clip((corners[:, 1::2].astype(np.float64) + top) * down, 0, self.image[0])
        return np.stack([x[:, 0], y[:, 0], x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]], axis=1)

    def spread(self, classes: Array, outside: int) -> Array:
        """Return a class map over the whole image: each pixel gets the nearest of the map; what was cut off, ``outside``."""
        places = []
        for axis in (0, 1):
            middle = (np.arange(self.image[axis]) + 0.5) * self.resized[axis] / self.image[axis] - self._cut[axis]
            places.append(np.floor(middle * classes.shape[axis] / self.network[axis]).astype(np.int64))
        rows, columns = places
        inside = ((rows >= 0) & (rows < classes.shape[0]))[:, None] & ((columns >= 0) & (columns < classes.shape[1]))[None]
        spread = classes[np.clip(rows, 0, classes.shape[0] - 1)[:, None], np.clip(columns, 0, classes.shape[1] - 1)[None]]
        return np.where(inside, spread, outside)
