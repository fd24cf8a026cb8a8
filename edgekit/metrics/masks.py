"""Mean intersection over union of class maps. Decoded outputs hold ``map``, the truth ``mask``, of one shape."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgekit.errors import InputError
from edgekit.metrics import Array, Metric, Statistics, Total, class_numbers

__all__ = ["IGNORED", "MIOU"]

IGNORED = 255
"""The class of pixels that do not count, as Pascal VOC and Cityscapes mark them."""


def _overlap(outputs: Mapping[str, Array], truth: Mapping[str, Array]) -> Array:
    """Return class, pixels right, pixels true and pixels said, for each class in the sample's truth or map."""
    if truth["mask"].shape != outputs["map"].shape:
        raise InputError(
            f"its mask is {list(truth['mask'].shape)}, its image {list(outputs['map'].shape)}", fix="give masks of the image's own size"
        )
    counted = (truth["mask"] != IGNORED) & (outputs["map"] != IGNORED)
    true, said = truth["mask"][counted].astype(np.int64), outputs["map"][counted].astype(np.int64)
    if not true.size:
        return np.zeros((0, 4))
    classes = int(max(true.max(), said.max())) + 1
    right, of_truth, of_map = (np.bincount(one, minlength=classes) for one in (true[true == said], true, said))
    seen = np.flatnonzero(of_truth + of_map)
    return np.stack([seen, right[seen], of_truth[seen], of_map[seen]], axis=1).astype(np.float64)


def _total(statistics: Statistics) -> Total:
    """Return the mean over the classes of right / (true + said - right), each summed over the set: Pascal VOC's segmentation accuracy.

    Everingham et al., International Journal of Computer Vision 88, 2010, 303-338. Classes in neither truth nor maps are left out.
    """
    numbers, right, of_truth, of_map = statistics.values.T
    classes, owners = class_numbers(numbers), statistics.owners
    union = of_truth + of_map - right

    def total(weights: Array) -> float:
        drawn = weights[owners]
        above, below = np.bincount(classes, right * drawn), np.bincount(classes, union * drawn)
        seen = below > 0
        return float(np.mean(above[seen] / below[seen])) if seen.any() else float("nan")

    return total


MIOU = Metric("miou", "mask", _overlap, _total)
