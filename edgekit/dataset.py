"""``Dataset``: a fixed list of real samples, with labels where there are any.

Three forms: a folder of images with ``labels.csv``, an ``.npz`` with ``x`` (and ``y``), and
``module:function`` (``edgekit.sample``). For a network with several inputs the latter two hold an array for each, by its
name. `open_dataset` reads one of them once, sample by sample, into a container of edgekit's own,
checks each on the way, and everything later reads that container: so a shuffling loader cannot give
two answers, memory stays flat, and no image is decoded twice. Each sample has a digest, so that
calibration and evaluation can be shown to share none. A truth that is no class has a container of its own, which never leaves the host.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.digest import sha256_bytes
from edgekit.errors import InputError
from edgekit.metrics import Truth
from edgekit.ondevice import samples
from edgekit.sample import Sample, source

__all__ = ["Dataset", "open_dataset", "refuse_overlap"]

Array = np.ndarray[Any, np.dtype[Any]]

_IMAGE_RANK = 3


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
    truth, truth_digests
        The container of truths that are no classes (`edgekit.truth`), with ``size``, an image's height and width; and a digest of each.
    columns
        What else is known of the samples: a text for each, by the column's name.
    """

    name: str
    container: Path
    digests: tuple[str, ...]
    labels: tuple[int, ...] | None
    arrays: tuple[str, ...]
    firsts: tuple[tuple[int, str], ...]
    truth: Path | None = None
    truth_digests: tuple[str, ...] = ()
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return samples.read(self.container)

    def __len__(self) -> int:
        return len(self.digests)

    def read(self, numbers: Iterable[int]) -> Iterator[dict[str, Array]]:
        """Yield some of the samples."""
        with samples.Samples(self.container) as container:
            yield from (container[number] for number in numbers)

    @property
    def truths(self) -> Iterator[dict[str, Array]] | None:
        """The truth of each sample, as metrics read it; None where there is none."""
        if self.truth is not None:
            return samples.read(self.truth)
        return None if self.labels is None else ({"label": np.array(label)} for label in self.labels)

    @property
    def examples(self) -> Iterator[Sample]:
        """Read one sample of each combination of shapes and types: what holds for them holds for all."""
        for (number, origin), arrays in zip(self.firsts, self.read(number for number, _ in self.firsts), strict=True):
            yield Sample(arrays, self.labels[number] if self.labels else None, origin)

    @cached_property
    def sha256(self) -> str:
        """Digest of all samples and what is true of them, in order: names the dataset in plans and reports."""
        labels: tuple[int | str | None, ...] = self.truth_digests or self.labels or (None,) * len(self)
        return sha256_bytes("\n".join(f"{digest} {label}" for digest, label in zip(self.digests, labels, strict=True)).encode())


def open_dataset(
    word: str,
    folder: Path,
    container: Path,
    *,
    skip: int = 0,
    count: int | None = None,
    at_most: int | None = None,
    inputs: Collection[str] | None = None,
    truth: Truth = "class",
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
    at_most
        Stop after so many, also where there are more.
    inputs
        Names of the model's inputs: arrays that none of them takes are left out. For a model with one input that is
        all but ``x``, where there is one. None keeps every array.
    truth
        What the metric holds the outputs against. Truths that are no classes are written beside the container; ``none`` reads none.

    Raises
    ------
    InputError
        No such dataset, a form that edgekit does not read, fewer samples than asked for, or a
        sample that is unreadable or no numbers; each named.
    """
    digests: list[str] = []
    labels: list[int | None] = []
    truths: list[str] = []
    columns: list[Mapping[str, str]] = []
    firsts: dict[tuple[tuple[str, str, tuple[int, ...]], ...], tuple[int, str]] = {}
    names: list[tuple[str, ...]] = []
    kinds: list[tuple[str, ...]] = []
    beside = container.with_suffix(".truth.npz")
    with ExitStack() as stack:
        writer = stack.enter_context(samples.Writer(container))
        keeper = stack.enter_context(samples.Writer(beside)) if truth not in ("class", "none") else None
        count = count if count is None or at_most is None else min(count, at_most)
        stop = at_most if count is None else count
        for sample in itertools.islice(source(word, folder, truth)(), skip, None if stop is None else skip + stop):
            sample = replace(sample, arrays=_wanted(sample.arrays, inputs))
            names[:] = names or [tuple(sorted(sample.arrays))]
            _check(sample, names[0])
            kind = tuple((name, x.dtype.str, x.shape) for name, x in sorted(sample.arrays.items()))
            firsts.setdefault(kind, (len(digests), sample.origin))
            digests.append(_digest(sample.arrays))
            labels.append(sample.label)
            columns.append(sample.columns)
            if keeper is not None and sample.truth is not None:
                known = _with_size(sample.truth, sample.arrays)
                kinds[:] = kinds or [tuple(sorted(known))]
                if tuple(sorted(known)) != kinds[0]:
                    raise InputError(f"{sample.origin}: its truth holds {', '.join(sorted(known))}; the first one {', '.join(kinds[0])}")
                keeper.add(known)
                truths.append(_digest(known))
            writer.add(dict(sample.arrays))
    if not digests or (count is not None and len(digests) < count):
        wanted = f"{count} were asked for" if count else "none is left"
        raise InputError(f"{word}: {len(digests)} samples after the first {skip}, {wanted}", fix="lower samples or skip in edgekit.toml")
    if truths and len(truths) < len(digests):
        raise InputError(f"{word}: {len(truths)} of {len(digests)} samples have a truth", fix="give one for every sample, or for none")
    known_labels = tuple(label for label in labels if label is not None)
    return Dataset(
        name=word,
        container=container,
        digests=tuple(digests),
        labels=known_labels if len(known_labels) == len(labels) else None,
        arrays=names[0],
        firsts=tuple(firsts.values()),
        truth=beside if truths else None,
        truth_digests=tuple(truths),
        columns={name: tuple(row[name] for row in columns) for name in columns[0] if all(name in row for row in columns)},
    )


def _with_size(truth: Mapping[str, Array], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Add the size of the image, where the sample is one: boxes and masks are in its pixels."""
    shapes = {x.shape[:2] for x in arrays.values() if x.ndim == _IMAGE_RANK}
    return {**truth, "size": np.array(shapes.pop())} if len(shapes) == 1 else dict(truth)


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
