"""``Dataset``: a fixed list of real samples, with labels where there are any.

Three forms: a folder of images with ``labels.csv``, an ``.npz`` with ``x`` (and ``y``), and
``module:function``. Samples are read one at a time and never kept, except that a compressed ``.npz``
is one block. Each sample has a digest of what the network would see, so that calibration and
evaluation can be shown to share none.
"""

from __future__ import annotations

import csv
import importlib
import itertools
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.digest import sha256_bytes
from edgekit.errors import InputError

__all__ = ["Dataset", "Sample", "open_dataset", "refuse_overlap"]

Array = np.ndarray[Any, np.dtype[Any]]

_IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".webp"}


@dataclass(frozen=True)
class Sample:
    """One raw sample: an image as uint8 [height, width, 3] in RGB, or any other array."""

    x: Array
    label: int | None
    origin: str


@dataclass(frozen=True)
class Dataset:
    """A list of samples that can be gone through again and again.

    Attributes
    ----------
    name
        Where it came from, for messages and reports.
    read
        Makes a fresh iterator over the samples.
    """

    name: str
    read: Callable[[], Iterator[Sample]]

    def __iter__(self) -> Iterator[Sample]:
        return self.read()

    @cached_property
    def index(self) -> tuple[tuple[str, int | None], ...]:
        """Digest and label of every sample, in order; reads all of them once."""
        entries = tuple((_digest(sample.x), sample.label) for sample in self)
        if not entries:
            raise InputError(f"{self.name}: no samples", fix="check [..] skip and samples, or the dataset's path")
        return entries

    @cached_property
    def labels(self) -> tuple[int, ...] | None:
        """Every sample's label, or None when any is missing."""
        found = tuple(label for _, label in self.index if label is not None)
        return found if len(found) == len(self.index) else None

    @cached_property
    def sha256(self) -> str:
        """Digest of all samples and labels in order: names the dataset in plans and reports."""
        return sha256_bytes("\n".join(f"{digest} {label}" for digest, label in self.index).encode())

    def __len__(self) -> int:
        return len(self.index)


def open_dataset(word: str, folder: Path, *, skip: int = 0, samples: int | None = None) -> Dataset:
    """Open a dataset by what the project calls it.

    Parameters
    ----------
    word
        A path relative to ``folder``, or ``module:function``.
    skip, samples
        Take so many samples after the first ``skip``; None takes the rest.

    Raises
    ------
    InputError
        No such dataset, or its form is not one edgekit reads. Unreadable samples are found when
        they are read, each named.
    """
    path = folder / word
    if path.is_dir():
        read = _image_folder(path)
    elif path.suffix == ".npz" and path.is_file():
        read = _npz(path)
    elif ":" in word and not path.exists():
        read = _function(word, folder)
    elif path.exists():
        raise InputError(f"{path}: not a dataset", fix="give a folder of images with labels.csv, an .npz with x and y, or module:function")
    else:
        raise InputError(f"{path}: no such dataset", fix="check the path; it starts from the folder of edgekit.toml")
    stop = None if samples is None else skip + samples
    return Dataset(word, lambda: itertools.islice(read(), skip, stop))


def refuse_overlap(calibration: Dataset, evaluation: Dataset) -> None:
    """Refuse to judge a model on samples it was calibrated with.

    Raises
    ------
    InputError
        At least one sample is in both.
    """
    seen = {digest for digest, _ in calibration.index}
    shared = [number for number, (digest, _) in enumerate(evaluation.index) if digest in seen]
    if shared:
        raise InputError(
            f"calibration ({calibration.name}) and evaluation ({evaluation.name}) share {len(shared)} samples, "
            f"the first is evaluation sample {shared[0]}",
            fix="take other samples, e.g. skip = N under [evaluation]",
        )


def _digest(x: Array) -> str:
    head = f"{x.dtype.str} {x.shape} ".encode()
    return sha256_bytes(head + np.ascontiguousarray(x).tobytes())


def _image_folder(folder: Path) -> Callable[[], Iterator[Sample]]:
    listing = folder / "labels.csv"
    rows: list[tuple[str, int | None]]
    if listing.is_file():
        rows = list(_label_rows(listing))
    else:
        rows = [(path.name, None) for path in sorted(folder.iterdir()) if path.suffix.lower() in _IMAGE_SUFFIXES]
    if not rows:
        raise InputError(f"{folder}: no images in it", fix=f"put images there ({', '.join(sorted(_IMAGE_SUFFIXES))}) or a labels.csv")

    def read() -> Iterator[Sample]:
        for name, label in rows:
            yield Sample(_decode(folder / name), label, str(folder / name))

    return read


def _label_rows(listing: Path) -> Iterator[tuple[str, int]]:
    with listing.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {"file", "label"} - set(reader.fieldnames or ())
        if missing:
            raise InputError(f"{listing}: no column {sorted(missing)[0]!r}", fix="its first line must read: file,label")
        for row in reader:
            try:
                yield row["file"], int(row["label"])
            except (TypeError, ValueError) as error:
                raise InputError(f"{listing}:{reader.line_num}: the label {row['label']!r} is not a whole number") from error


def _decode(path: Path) -> Array:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such image", fix="mend labels.csv, or put the file back") from error
    # Pillow raises plain SyntaxError, ValueError and others for damaged files of some formats.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a readable image: {error}", fix="replace or remove this file") from error


def _npz(path: Path) -> Callable[[], Iterator[Sample]]:
    def read() -> Iterator[Sample]:
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                x = archive["x"]
                y = archive["y"] if "y" in archive.files else None
        except KeyError as error:
            raise InputError(f"{path}: no array 'x' in it", fix="np.savez_compressed(path, x=samples, y=labels)") from error
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: not a readable .npz: {error}") from error
        if x.ndim < 1 or (y is not None and y.shape != x.shape[:1]):
            shape = None if y is None else y.shape
            raise InputError(f"{path}: x has shape {x.shape} and y {shape}", fix="y must hold one whole number per row of x")
        if y is not None and y.dtype.kind not in "iu":
            raise InputError(f"{path}: y is {y.dtype}", fix="y must hold whole numbers, one per sample")
        for number in range(len(x)):
            yield Sample(x[number], None if y is None else int(y[number]), f"{path}[{number}]")

    return read


def _function(word: str, folder: Path) -> Callable[[], Iterator[Sample]]:
    module_name, _, attribute = word.partition(":")
    # The user's own module lies beside their edgekit.toml, as with any project-local plug-in.
    if str(folder.resolve()) not in sys.path:
        sys.path.insert(0, str(folder.resolve()))
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{word}: {error}", fix=f"{module_name}.py must lie in {folder} or be installed, and define {attribute}()"
        ) from error

    def read() -> Iterator[Sample]:
        items: Iterable[Any] = function()
        for number, item in enumerate(items):
            x, label = item if isinstance(item, tuple) else (item, None)
            yield Sample(np.asarray(x), None if label is None else int(label), f"{word}[{number}]")

    return read
