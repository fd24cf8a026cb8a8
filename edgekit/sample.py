"""``Sample``, and the forms a dataset has on disk: a folder of images, an ``.npz``, ``module:function``. ``dataset`` reads them once.

What the truth is depends on the metric: a class in ``label`` or ``y``, or what `edgekit.truth` says. Further columns of ``labels.csv``,
texts in an ``.npz``, and a third member of what a function gives are the sample's columns, by which a probe can slice.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.coco import read_boxes
from edgekit.errors import EdgekitError, InputError
from edgekit.metrics import Array, Truth
from edgekit.npz import rows
from edgekit.ondevice import samples
from edgekit.plugin import own_function
from edgekit.truth import read_truth

__all__ = ["Sample", "source"]

_LABELS = "y"
_IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".webp"}
_ANNOTATIONS = "annotations.json"


@dataclass(frozen=True)
class Sample:
    """One raw sample: arrays by name, an image as uint8 [height, width, 3] in RGB. The only array is ``x``, unless it has a name.

    Attributes
    ----------
    label
        The true class, where the metric reads classes.
    truth
        Where it reads something else: see `edgekit.truth`.
    columns
        What else is known of it, by name.
    """

    arrays: Mapping[str, Array]
    label: int | None
    origin: str
    truth: Mapping[str, Array] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


def source(word: str, folder: Path, kind: Truth) -> Callable[[], Iterator[Sample]]:
    """Return what reads a dataset, sample by sample.

    Raises
    ------
    InputError
        There is no such dataset, or it is of no form that edgekit reads.
    """
    path = folder / word
    if path.is_dir():
        return _image_folder(path, kind)
    if path.suffix == ".npz" and path.is_file():
        return partial(_npz, path, kind)
    if ":" in word and not path.exists():
        return _function(word, folder, kind)
    if path.exists():
        raise InputError(f"{path}: not a dataset", fix="give a folder of images with labels.csv, an .npz with x and y, or module:function")
    raise InputError(f"{path}: no such dataset", fix="check the path; it starts from the folder of edgekit.toml")


def _image_folder(folder: Path, kind: Truth) -> Callable[[], Iterator[Sample]]:
    listing = folder / "labels.csv"
    boxes = read_boxes(folder / _ANNOTATIONS) if kind == "boxes" or (kind == "any" and (folder / _ANNOTATIONS).is_file()) else None
    entries: list[dict[str, str]]
    if listing.is_file():
        entries = list(_entries(listing, kind))
    else:
        names = boxes or sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _IMAGE_SUFFIXES)
        entries = [{"file": name} for name in names]
    if not entries:
        raise InputError(f"{folder}: no images in it", fix=f"put images there ({', '.join(sorted(_IMAGE_SUFFIXES))}) or a labels.csv")

    def read() -> Iterator[Sample]:
        for entry in entries:
            name = entry["file"]
            origin = str(folder / name)
            arrays = {samples.ALONE: _decode(folder / name, "RGB")}
            columns = {key: value for key, value in entry.items() if key not in ("file", "label", "mask")}
            if kind == "class":
                yield Sample(arrays, int(entry["label"]) if "label" in entry else None, origin, columns=columns)
                continue
            truth: Any = None
            if boxes is not None:
                if name not in boxes:
                    raise InputError(
                        f"{folder / _ANNOTATIONS}: it lists no image {name!r}", fix="list every image, also those without a box"
                    )
                truth = boxes[name]
            elif kind in ("mask", "any") and (mask := _mask_of(folder, entry)) is not None:
                truth = read_truth(kind, mask, origin)
            else:
                truth = _truth(kind, entry.get("label"), origin)
            yield Sample(arrays, None, origin, truth, columns)

    return read


def _truth(kind: Truth, value: Any, origin: str) -> dict[str, Array] | None:
    """Return a sample's truth; a class beside vectors says nothing of them."""
    if value is None or kind == "none" or (kind == "vector" and not np.ndim(value)):
        return None
    return read_truth(kind, value, origin)


def _mask_of(folder: Path, entry: Mapping[str, str]) -> Array | None:
    """Return the class map that stands beside an image: the file in column ``mask``, or ``masks/STEM.png``."""
    path = folder / entry["mask"] if entry.get("mask") else folder / "masks" / f"{Path(entry['file']).stem}.png"
    return _decode(path, None) if entry.get("mask") or path.is_file() else None


def _entries(listing: Path, kind: Truth) -> Iterator[dict[str, str]]:
    try:
        # Spreadsheets put a byte order mark before the first column's name.
        with listing.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = ({"file", "label"} if kind in ("class", "text") else {"file"}) - set(reader.fieldnames or ())
            if missing:
                raise InputError(f"{listing}: no column {sorted(missing)[0]!r}", fix="its first line must read: file,label")
            for row in reader:
                where = f"{listing}:{reader.line_num}"
                label = row.get("label")
                if kind == "class":
                    try:
                        int(label or "")
                    except ValueError as error:
                        raise InputError(f"{where}: the label {label!r} is not a whole number") from error
                elif None in row or None in row.values():
                    raise InputError(f"{where}: it has not as many fields as the first line", fix='put texts that hold a comma in "quotes"')
                yield {str(key): value for key, value in row.items() if isinstance(value, str)}
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{listing}: not readable as UTF-8 text: {error}", fix="save it as UTF-8") from error


def _decode(path: Path, mode: str | None) -> Array:
    """Return an image's pixels, in a mode of Pillow's or as they are stored: the classes of a palette, too, are numbers."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image if mode is None else image.convert(mode))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such image", fix="mend labels.csv, or put the file back") from error
    # Pillow raises plain SyntaxError, ValueError and others for damaged files of some formats.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a readable image: {error}", fix="replace or remove this file") from error


def _npz(path: Path, kind: Truth) -> Iterator[Sample]:
    for number, row in enumerate(rows(path)):
        origin = f"{path}[{number}]"
        value = row.pop(_LABELS, None)
        columns = {name: str(text) for name, text in row.items() if text.dtype.kind == "U" and not text.shape}
        row = {name: array for name, array in row.items() if name not in columns}
        if not row:
            raise InputError(f"{path}: no array 'x' in it", fix="np.savez_compressed(path, x=samples, y=labels)")
        if kind != "class":
            yield Sample(row, None, origin, _truth(kind, value, origin), columns)
            continue
        if value is not None and (value.dtype.kind not in "iu" or value.shape):
            raise InputError(f"{path}: y is {value.dtype} {list(value.shape)}", fix="y must hold whole numbers, one per sample")
        yield Sample(row, None if value is None else int(value), origin, columns=columns)


def _function(word: str, folder: Path, kind: Truth) -> Callable[[], Iterator[Sample]]:
    module_name, _, attribute = word.partition(":")
    fix = (
        f"{module_name}.py must lie in {folder} or be installed, and {attribute}() give samples or pairs (sample, label), "
        "a sample being an array, or a dict with one for each input"
    )
    function = own_function(word, folder, fix)

    def read() -> Iterator[Sample]:
        try:
            for number, item in enumerate(function()):
                origin = f"{word}[{number}]"
                # Three members are a sample of three rows, unless the last says what else is known.
                sized = isinstance(item, (tuple, list)) and (len(item) == 2 or (len(item) == 3 and isinstance(item[2], Mapping)))
                paired = sized and (isinstance(item[0], Mapping) or np.ndim(item[0]) > 0)
                sample, value, columns = (*item, {})[:3] if paired else (item, None, {})
                named = sample if isinstance(sample, Mapping) else {samples.ALONE: sample}
                arrays = {str(name): np.asarray(x) for name, x in named.items()}
                known = {str(key): str(text) for key, text in columns.items()}
                if kind == "class":
                    yield Sample(arrays, None if value is None else int(value), origin, columns=known)
                else:
                    yield Sample(arrays, None, origin, _truth(kind, value, origin), known)
        except EdgekitError:
            raise
        except Exception as error:
            raise InputError(f"{word}: {type(error).__name__}: {error}", fix=fix) from error

    return read
