"""The sample container: an uncompressed ``.npz`` with one entry per sample, read one at a time.

``x000000``, ``x000001``, ... are the raw samples, whose sizes may differ; ``y``, if there, the labels (int64 ``[n]``). Written by the
host (golden samples, evaluation sets) and by the `infer` job (outputs); read by both sides. Nothing is ever unpickled.
"""

from __future__ import annotations

import math
import os
import tempfile
import tokenize
import zipfile
from typing import TYPE_CHECKING, Any, ContextManager, Iterable, Iterator

from .wire import AgentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Samples", "read", "write"]

NAME = "x%06d.npy"
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
        self._count = len(names) - self.has_labels
        # Stored entries cannot be larger than the file, so that no header can make us take more memory than that.
        stored = all(info.compress_type == zipfile.ZIP_STORED and info.file_size == info.compress_size for info in infos)
        if not stored or len(infos) != len(names) or self._count > COUNT_MAX or not all(NAME % i in names for i in range(self._count)):
            self._zip.close()
            raise AgentError("input", "%s must hold the entries x000000, x000001, ... and perhaps y, not compressed" % path)

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> NDArray[Any]:
        return self._read(NAME % index)

    def labels(self) -> NDArray[Any] | None:
        """Return the labels, int64 ``[n]``, or None when the set has none."""
        labels = self._read("y.npy") if self.has_labels else None
        if labels is not None and (labels.shape != (self._count,) or labels.dtype.kind not in "iu"):
            raise AgentError("input", "%s: y must be %d whole numbers, it is %s %s" % (self.path, self._count, labels.dtype, labels.shape))
        return None if labels is None else labels.astype("int64")

    def _read(self, name: str) -> NDArray[Any]:
        from numpy.lib import format as npy

        try:
            with self._zip.open(name) as file:
                header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
                shape, _, dtype = header(file)
                size = math.prod(shape, start=dtype.itemsize)
                if dtype.hasobject or not 0 <= size <= self._zip.getinfo(name).file_size:
                    raise ValueError("its header promises what the entry does not hold")
                file.seek(0)
                array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
        except REFUSED as error:
            raise AgentError("input", "%s: %s cannot be read: %s" % (self.path, name, error)) from error
        return array


def read(path: str | os.PathLike[str]) -> Iterator[NDArray[Any]]:
    """Yield the samples of a container in their order."""
    with Samples(path) as samples:
        yield from (samples[index] for index in range(len(samples)))


def write(path: str | os.PathLike[str], samples: Iterable[NDArray[Any]], labels: Any = None) -> int:
    """Write a container as the samples come, whole or not at all; return how many there were."""
    import numpy as np

    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(path)), prefix=".samples-")
    count = 0
    try:
        with os.fdopen(handle, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for sample in samples:
                    _add(archive, NAME % count, sample)
                    count += 1
                if labels is not None:
                    if len(labels) != count:
                        raise AgentError("input", "%d labels for %d samples" % (len(labels), count))
                    _add(archive, "y.npy", np.asarray(labels, np.int64))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return count


def _add(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    import numpy as np

    entry = zipfile.ZipInfo(name, EPOCH)
    entry.file_size = array.nbytes + 4096  # tells zipfile beforehand whether 64-bit sizes are needed
    with archive.open(entry, "w") as file:
        np.lib.format.write_array(file, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
