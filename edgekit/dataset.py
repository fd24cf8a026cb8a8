"""``Dataset``: a fixed list of real samples, with labels where there are any.

Three forms: a folder of images with ``labels.csv``, an ``.npz`` with ``x`` (and ``y``), and
``module:function``. For a network with several inputs the latter two hold an array for each, by its
name. `open_dataset` reads one of them once, sample by sample, into a container of edgekit's own,
checks each on the way, and everything later reads that container: so a shuffling loader cannot give
two answers, memory stays flat, and no image is decoded twice. Each sample has a digest, so that
calibration and evaluation can be shown to share none.
"""

from __future__ import annotations

import csv
import importlib
import itertools
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.digest import sha256_bytes
from edgekit.errors import EdgekitError, InputError
from edgekit.npz import rows
from edgekit.ondevice import samples

__all__ = ["Dataset", "Sample", "open_dataset", "refuse_overlap"]

Array = np.ndarray[Any, np.dtype[Any]]

_LABELS = "y"
_IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".webp"}


@dataclass(frozen=True)
class Sample:
    """One raw sample: arrays by name, an image as uint8 [height, width, 3] in RGB. The only array is ``x``, unless it has a name."""

    arrays: Mapping[str, Array]
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
    arrays
        Names of the arrays that each sample holds, sorted.
    firsts
        Number and origin of the first sample of each combination of shapes and types.
    """

    name: str
    container: Path
    digests: tuple[str, ...]
    labels: tuple[int, ...] | None
    arrays: tuple[str, ...]
    firsts: tuple[tuple[int, str], ...]

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return samples.read(self.container)

    def __len__(self) -> int:
        return len(self.digests)

    def read(self, numbers: Iterable[int]) -> Iterator[dict[str, Array]]:
        """Yield some of the samples."""
        with samples.Samples(self.container) as container:
            yield from (container[number] for number in numbers)

    @property
    def examples(self) -> Iterator[Sample]:
        """Read one sample of each combination of shapes and types: what holds for them holds for all."""
        for (number, origin), arrays in zip(self.firsts, self.read(number for number, _ in self.firsts), strict=True):
            yield Sample(arrays, self.labels[number] if self.labels else None, origin)

    @cached_property
    def sha256(self) -> str:
        """Digest of all samples and labels in order: names the dataset in plans and reports."""
        labels = self.labels or (None,) * len(self)
        return sha256_bytes("\n".join(f"{digest} {label}" for digest, label in zip(self.digests, labels, strict=True)).encode())


def open_dataset(
    word: str, folder: Path, container: Path, *, skip: int = 0, count: int | None = None, inputs: Collection[str] | None = None
) -> Dataset:
    """Read a dataset by what the project calls it.

    Parameters
    ----------
    word
        A path relative to ``folder``, or ``module:function``.
    container
        The samples are written to this file.
    skip, count
        Take so many samples after the first ``skip``; None takes the rest.
    inputs
        Names of the model's inputs: arrays that none of them takes are left out. For a model with one input that is
        all but ``x``, where there is one. None keeps every array.

    Raises
    ------
    InputError
        No such dataset, a form that edgekit does not read, fewer samples than asked for, or a
        sample that is unreadable or no numbers; each named.
    """
    digests: list[str] = []
    labels: list[int | None] = []
    firsts: dict[tuple[tuple[str, str, tuple[int, ...]], ...], tuple[int, str]] = {}
    names: list[tuple[str, ...]] = []

    def checked() -> Iterator[dict[str, Array]]:
        for sample in itertools.islice(_source(word, folder)(), skip, None if count is None else skip + count):
            sample = replace(sample, arrays=_wanted(sample.arrays, inputs))
            names[:] = names or [tuple(sorted(sample.arrays))]
            _check(sample, names[0])
            kind = tuple((name, x.dtype.str, x.shape) for name, x in sorted(sample.arrays.items()))
            firsts.setdefault(kind, (len(digests), sample.origin))
            digests.append(_digest(sample.arrays))
            labels.append(sample.label)
            yield dict(sample.arrays)

    samples.write(container, checked())
    if not digests or (count is not None and len(digests) < count):
        wanted = f"{count} were asked for" if count else "none is left"
        raise InputError(f"{word}: {len(digests)} samples after the first {skip}, {wanted}", fix="lower samples or skip in edgekit.toml")
    known = tuple(label for label in labels if label is not None)
    return Dataset(word, container, tuple(digests), known if len(known) == len(labels) else None, names[0], tuple(firsts.values()))


def _wanted(arrays: Mapping[str, Array], inputs: Collection[str] | None) -> Mapping[str, Array]:
    """Leave out the arrays that no input takes; where that leaves nothing, the error is for whoever binds them."""
    if inputs is None or len(arrays) == 1:
        return arrays
    alone = len(inputs) == 1 and samples.ALONE in arrays
    return {name: x for name, x in arrays.items() if name in ({samples.ALONE} if alone else inputs)} or arrays


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
        return partial(_npz, path)
    if ":" in word and not path.exists():
        return _function(word, folder)
    if path.exists():
        raise InputError(f"{path}: not a dataset", fix="give a folder of images with labels.csv, an .npz with x and y, or module:function")
    raise InputError(f"{path}: no such dataset", fix="check the path; it starts from the folder of edgekit.toml")


def _check(sample: Sample, names: tuple[str, ...]) -> None:
    if tuple(sorted(sample.arrays)) != names:
        raise InputError(f"{sample.origin}: holds the arrays {', '.join(sorted(sample.arrays))}; the first sample holds {', '.join(names)}")
    for name, x in sample.arrays.items():
        where = sample.origin if name == samples.ALONE else f"{sample.origin}: {name}"
        if not samples.ARRAY.fullmatch(name):
            raise InputError(f"{where}: no name for an array", fix="give arrays the names of the model's inputs")
        if x.dtype.kind not in "biuf":
            raise InputError(f"{where}: holds {x.dtype}, not numbers", fix="give arrays of numbers; text must be encoded first")
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise InputError(f"{where}: holds a value that is not finite", fix="remove the sample, or clean it")
    if sample.label is not None and sample.label < 0:
        raise InputError(f"{sample.origin}: the label {sample.label} is negative", fix="labels count from 0")


def _digest(arrays: Mapping[str, Array]) -> str:
    if arrays.keys() == {samples.ALONE}:
        x = arrays[samples.ALONE]
        return sha256_bytes(f"{x.dtype.str} {x.shape} ".encode() + np.ascontiguousarray(x).tobytes())
    # Digests of fixed length between the names: no two samples spell the same text.
    return sha256_bytes("".join(f"{_digest({samples.ALONE: x})} {name}\n" for name, x in sorted(arrays.items())).encode())


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
            yield Sample({samples.ALONE: _decode(folder / name)}, label, str(folder / name))

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


def _npz(path: Path) -> Iterator[Sample]:
    for number, row in enumerate(rows(path)):
        label = row.pop(_LABELS, None)
        if not row:
            raise InputError(f"{path}: no array 'x' in it", fix="np.savez_compressed(path, x=samples, y=labels)")
        if label is not None and (label.dtype.kind not in "iu" or label.shape):
            raise InputError(f"{path}: y is {label.dtype} {list(label.shape)}", fix="y must hold whole numbers, one per sample")
        yield Sample(row, None if label is None else int(label), f"{path}[{number}]")


def _function(word: str, folder: Path) -> Callable[[], Iterator[Sample]]:
    module_name, _, attribute = word.partition(":")
    fix = (
        f"{module_name}.py must lie in {folder} or be installed, and {attribute}() give samples or pairs (sample, label), "
        "a sample being an array, or a dict with one for each input"
    )
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
                paired = isinstance(item, (tuple, list)) and len(item) == 2 and (isinstance(item[0], Mapping) or np.ndim(item[0]) > 0)
                sample, label = item if paired else (item, None)
                named = sample if isinstance(sample, Mapping) else {samples.ALONE: sample}
                arrays = {str(name): np.asarray(x) for name, x in named.items()}
                yield Sample(arrays, None if label is None else int(label), f"{word}[{number}]")
        except EdgekitError:
            raise
        except Exception as error:
            raise InputError(f"{word}: {type(error).__name__}: {error}", fix=fix) from error

    return read
