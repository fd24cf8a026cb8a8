"""The sample container: an uncompressed ``.npz`` with an entry for each array of each sample, read one sample at a time.

A sample is a table of arrays by name, whose sizes may differ from sample to sample. ``x000000``, ``x000001``, ... hold the only array,
``x``; a sample of named arrays, for a network with several inputs, stands as ``x000000/input_ids``, ``x000000/attention_mask``, ...
``y``, if there, holds the labels (int64 ``[n]``). Written by the host (golden samples, evaluation sets) and by the `infer` job (outputs);
read by both sides. Nothing is ever unpickled.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
import tokenize
import zipfile
from typing import IO, TYPE_CHECKING, Any, ContextManager, Dict, Iterable, Iterator

from .wire import AgentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ALONE", "ARRAY", "REFUSED", "Sample", "Samples", "Writer", "npy_header", "read", "read_npy", "write"]

Sample = Dict[str, Any]  # arrays by name

ALONE = "x"  # the name of an array that is all there is to a sample
ONE, NAMED = "x%06d.npy", "x%06d/%s.npy"
ARRAY = re.compile(r"[^\x00-\x1f\x7f]{1,200}")  # an input's name: whatever a zip keeps as it is
COUNT_MAX = 1_000_000
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip knows: the same arrays give the same bytes
# What zipfile and numpy say of bytes that are not theirs; numpy reads a header as a Python literal.
REFUSED = (ValueError, KeyError, TypeError, EOFError, OSError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile, RuntimeError)


class Samples(ContextManager["Samples"]):
    """A container, open; `AgentError` of kind ``input`` when it is none. Memory holds the names and one sample."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except REFUSED as error:
            raise AgentError("input", "%s is no sample container: %s" % (path, error)) from error
        infos = self._zip.infolist()
        names = {info.filename for info in infos}
        self.has_labels = "y.npy" in names
        entries = len(names) - self.has_labels
        start, end = (NAMED % (0, "\n")).split("\n")
        first = sorted(name[len(start) : -len(end)] for name in names if name.startswith(start) and name.endswith(end))
        self.arrays = tuple(first) or (ALONE,)
        self._count = entries // len(self.arrays)
        # Stored entries cannot be larger than the file, so that no header can make us take more memory than that.
        stored = all(info.compress_type == zipfile.ZIP_STORED and info.file_size == info.compress_size for info in infos)
        whole = stored and len(infos) == len(names) and entries == self._count * len(self.arrays) and entries <= COUNT_MAX
        if not whole or not all(entry in names for index in range(self._count) for entry in _entries(index, self.arrays).values()):
            self._zip.close()
            raise AgentError("input", "%s must hold the entries x000000, x000001, ... and perhaps y, not compressed" % path)

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        return {array: self._read(entry) for array, entry in _entries(index, self.arrays).items()}

    def labels(self) -> NDArray[Any] | None:
        """Return the labels, int64 ``[n]``, or None when the set has none."""
        labels = self._read("y.npy") if self.has_labels else None
        if labels is not None and (labels.shape != (self._count,) or labels.dtype.kind not in "iu"):
            raise AgentError("input", "%s: y must be %d whole numbers, it is %s %s" % (self.path, self._count, labels.dtype, labels.shape))
        return None if labels is None else labels.astype("int64")

    def _read(self, name: str) -> NDArray[Any]:
        try:
            with self._zip.open(name) as file:
                return read_npy(file, self._zip.getinfo(name).file_size)
        except REFUSED as error:
            raise AgentError("input", "%s: %s cannot be read: %s" % (self.path, name, error)) from error


def read_npy(file: IO[bytes], size_bytes: int) -> NDArray[Any]:
    """Read an array from the ``.npy`` of a size; one of `REFUSED` where it is none of plain numbers, or promises more than is there."""
    from numpy.lib import format as npy

    shape, _, dtype = npy_header(file)
    if math.prod(shape, start=dtype.itemsize) > size_bytes:
        raise ValueError("its header promises what is not there")
    file.seek(0)
    array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
    return array


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, Any]:
    """Read shape, Fortran order and dtype of a ``.npy`` entry; one of `REFUSED` where it is none of plain numbers."""
    from numpy.lib import format as npy

    header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
    shape, fortran_order, dtype = header(file)
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError("its header describes no array of plain values")
    return shape, fortran_order, dtype


def read(path: str | os.PathLike[str]) -> Iterator[Sample]:
    """Yield the samples of a container in their order."""
    with Samples(path) as samples:
        yield from (samples[index] for index in range(len(samples)))


class Writer(ContextManager["Writer"]):
    """A container that is written as samples come; it is there, whole, once the block ends well, or not at all."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, self.count, self._first = path, 0, frozenset([ALONE])
        handle, self._temporary = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(path)), prefix=".samples-")
        self._file = os.fdopen(handle, "wb")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)

    def add(self, sample: Sample | NDArray[Any]) -> None:
        """Write one more sample; an array stands for ``{"x": array}``."""
        named = sample if isinstance(sample, dict) else {ALONE: sample}
        first = self._first = self._first if self.count else frozenset(named)
        if not named or named.keys() != first or not all(map(ARRAY.fullmatch, named)):
            raise AgentError("input", "sample %d holds the arrays %s, the first %s" % (self.count, sorted(named), sorted(first)))
        for array, entry in _entries(self.count, sorted(named)).items():
            _add(self._zip, entry, named[array])
        self.count += 1

    def label(self, labels: Any) -> None:
        """Write the labels of the samples."""
        import numpy as np

        if len(labels) != self.count:
            raise AgentError("input", "%d labels for %d samples" % (len(labels), self.count))
        _add(self._zip, "y.npy", np.asarray(labels, np.int64))

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            with self._file:
                self._zip.close()
                self._file.flush()
                os.fsync(self._file.fileno())
            if kind is None:
                os.replace(self._temporary, self.path)
                return
        except BaseException:
            os.unlink(self._temporary)
            raise
        os.unlink(self._temporary)


def write(path: str | os.PathLike[str], samples: Iterable[Sample | NDArray[Any]], labels: Any = None) -> int:
    """Write a container as the samples come, whole or not at all; return how many there were. An array stands for ``{"x": array}``."""
    with Writer(path) as writer:
        for sample in samples:
            writer.add(sample)
        if labels is not None:
            writer.label(labels)
        return writer.count


def _entries(index: int, arrays: Iterable[str]) -> dict[str, str]:
    names = list(arrays)
    return {ALONE: ONE % index} if names == [ALONE] else {name: NAMED % (index, name) for name in names}


def _add(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    import numpy as np

    entry = zipfile.ZipInfo(name, EPOCH)
    entry.file_size = array.nbytes + 4096  # tells zipfile beforehand whether 64-bit sizes are needed
    with archive.open(entry, "w") as file:
        np.lib.format.write_array(file, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
