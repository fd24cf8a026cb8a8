"""``Dataset``: a fixed list of real samples, with labels where there are any.

Three forms: a folder of images with ``labels.csv``, an ``.npz`` with ``x`` (and ``y``), and
``module:function``. `open_dataset` reads one of them once, sample by sample, into a container of
edgekit's own, checks each on the way, and everything later reads that container: so a shuffling
loader cannot give two answers, memory stays flat, and no image is decoded twice. Each sample has a
digest, so that calibration and evaluation can be shown to share none.
"""

from __future__ import annotations

import csv
import importlib
import itertools
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.digest import sha256_bytes
from edgekit.errors import EdgekitError, InputError
from edgekit.ondevice import samples

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
    """Samples in a container, each with its digest.

    Attributes
    ----------
    name
        Where they came from, for messages and reports.
    container
        The file they are in now (`edgekit.ondevice.samples`).
    digests
        One for each sample, in order.
    labels
        One for each sample, or None when any has none.
    examples
        The first sample of each shape and type: what holds for them holds for all.
    """

    name: str
    container: Path
    digests: tuple[str, ...]
    labels: tuple[int, ...] | None
    examples: tuple[Sample, ...]

    def __iter__(self) -> Iterator[Array]:
        return (sample[samples.ALONE] for sample in samples.read(self.container))

    def __len__(self) -> int:
        return len(self.digests)

    @cached_property
    def sha256(self) -> str:
        """Digest of all samples and labels in order: names the dataset in plans and reports."""
        labels = self.labels or (None,) * len(self)
        return sha256_bytes("\n".join(f"{digest} {label}" for digest, label in zip(self.digests, labels, strict=True)).encode())


def open_dataset(word: str, folder: Path, container: Path, *, skip: int = 0, count: int | None = None) -> Dataset:
    """Read a dataset by what the project calls it.

    Parameters
    ----------
    word
        A path relative to ``folder``, or ``module:function``.
    container
        The samples are written to this file.
    skip, count
        Take so many samples after the first ``skip``; None takes the rest.

    Raises
    ------
    InputError
        No such dataset, a form that edgekit does not read, fewer samples than asked for, or a
        sample that is unreadable or no numbers; each named.
    """
    digests: list[str] = []
    labels: list[int | None] = []
    examples: dict[tuple[str, tuple[int, ...]], Sample] = {}

    def checked() -> Iterator[Array]:
        for sample in itertools.islice(_source(word, folder)(), skip, None if count is None else skip + count):
            _check(sample)
            digests.append(_digest(sample.x))
            labels.append(sample.label)
            examples.setdefault((sample.x.dtype.str, sample.x.shape), sample)
            yield sample.x

    samples.write(container, checked())
    if not digests or (count is not None and len(digests) < count):
        wanted = f"{count} were asked for" if count else "none is left"
        raise InputError(f"{word}: {len(digests)} samples after the first {skip}, {wanted}", fix="lower samples or skip in edgekit.toml")
    known = tuple(label for label in labels if label is not None)
    return Dataset(word, container, tuple(digests), known if len(known) == len(labels) else None, tuple(examples.values()))


def refuse_overlap(calibration: Dataset, evaluation: Dataset) -> None:
    """Refuse to judge a model on samples it was calibrated with.

    Raises
    ------
    InputError
        At least one sample is in both.
    """
    seen = set(calibration.digests)
    shared = [number for number, digest in enumerate(evaluation.digests) if digest in seen]
    if shared:
        raise InputError(
            f"calibration ({calibration.name}) and evaluation ({evaluation.name}) share {len(shared)} samples, "
            f"the first is evaluation sample {shared[0]}",
            fix="take other samples, e.g. skip = N under [evaluation]",
        )


def _source(word: str, folder: Path) -> Callable[[], Iterator[Sample]]:
    path = folder / word
    if path.is_dir():
        return _image_folder(path)
    if path.suffix == ".npz" and path.is_file():
        return _npz(path)
    if ":" in word and not path.exists():
        return _function(word, folder)
    if path.exists():
        raise InputError(f"{path}: not a dataset", fix="give a folder of images with labels.csv, an .npz with x and y, or module:function")
    raise InputError(f"{path}: no such dataset", fix="check the path; it starts from the folder of edgekit.toml")


def _check(sample: Sample) -> None:
    x = sample.x
    if x.dtype.kind not in "biuf":
        raise InputError(f"{sample.origin}: holds {x.dtype}, not numbers", fix="give arrays of numbers; text must be encoded first")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise InputError(f"{sample.origin}: holds a value that is not finite", fix="remove the sample, or clean it")
    if sample.label is not None and sample.label < 0:
        raise InputError(f"{sample.origin}: the label {sample.label} is negative", fix="labels count from 0")


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
    try:
        # Spreadsheets put a byte order mark before the first column's name.
        with listing.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = {"file", "label"} - set(reader.fieldnames or ())
            if missing:
                raise InputError(f"{listing}: no column {sorted(missing)[0]!r}", fix="its first line must read: file,label")
            for row in reader:
                try:
                    yield row["file"], int(row["label"])
                except (TypeError, ValueError) as error:
                    raise InputError(f"{listing}:{reader.line_num}: the label {row['label']!r} is not a whole number") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{listing}: not readable as UTF-8 text: {error}", fix="save it as UTF-8") from error


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
    fix = f"{module_name}.py must lie in {folder} or be installed, and {attribute}() give samples x or pairs (x, label)"
    # The user's own module lies beside their edgekit.toml, as with any project-local plug-in.
    if str(folder.resolve()) not in sys.path:
        sys.path.insert(0, str(folder.resolve()))
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        raise InputError(f"{word}: {type(error).__name__}: {error}", fix=fix) from error

    def read() -> Iterator[Sample]:
        try:
            for number, item in enumerate(function()):
                paired = isinstance(item, (tuple, list)) and len(item) == 2 and np.ndim(item[0]) > 0
                x, label = item if paired else (item, None)
                yield Sample(np.asarray(x), None if label is None else int(label), f"{word}[{number}]")
        except EdgekitError:
            raise
        except Exception as error:
            raise InputError(f"{word}: {type(error).__name__}: {error}", fix=fix) from error

    return read
