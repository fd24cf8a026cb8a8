"""COCO's ``annotations.json``: the boxes of each image. ``sample`` reads it beside the images.

The format is that of cocodataset.org, "Data format", object detection. Classes are counted from 0 in the order of the categories'
ids, as the networks that are trained on such files count them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from edgekit.errors import InputError
from edgekit.metrics import Array
from edgekit.parse import from_json
from edgekit.truth import boxes_truth

__all__ = ["read_boxes"]

_BYTES_MAX = 1 << 30

_Length = Annotated[float, msgspec.Meta(ge=0)]


class _Image(msgspec.Struct, frozen=True):
    id: int
    file_name: str


class _Category(msgspec.Struct, frozen=True):
    id: int


class _Annotation(msgspec.Struct, frozen=True):
    image_id: int
    category_id: int
    bbox: tuple[float, float, _Length, _Length]
    area: float | None = None
    iscrowd: int = 0


class _File(msgspec.Struct, frozen=True):
    images: tuple[_Image, ...]
    annotations: tuple[_Annotation, ...]
    categories: tuple[_Category, ...]


def read_boxes(path: Path) -> dict[str, dict[str, Array]]:
    """Return the truth of each image by its file's name, in the file's order.

    Raises
    ------
    InputError
        It is missing, or no such file; or an annotation is of an image or a category that it does not list.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: boxes stand in it, and it is not readable: {error}", fix="put COCO's annotations.json there") from error
    file = from_json(data, _File, str(path), max_bytes=_BYTES_MAX)
    number_of = {category: number for number, category in enumerate(sorted({one.id for one in file.categories}))}
    of_image: dict[int, list[_Annotation]] = {image.id: [] for image in file.images}
    for one in file.annotations:
        if one.image_id not in of_image or one.category_id not in number_of:
            raise InputError(f"{path}: an annotation is of image {one.image_id}, category {one.category_id}: it does not list both")
        of_image[one.image_id].append(one)
    return {
        image.file_name: boxes_truth(
            np.array([one.bbox for one in of_image[image.id]], np.float64),
            np.array([number_of[one.category_id] for one in of_image[image.id]], np.int64),
            np.array([one.iscrowd for one in of_image[image.id]], bool),
            np.array([one.bbox[2] * one.bbox[3] if one.area is None else one.area for one in of_image[image.id]], np.float64),
        )
        for image in file.images
    }
