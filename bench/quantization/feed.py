"""``Samples``: prepared inputs, read one by one. Every peer and every runtime of the bench is fed by it.

A folder holds one ``.npy`` per model input, samples along the first axis. They are read and not mapped, for
mapped pages would count as memory of the peer that reads them. Runs in every peer's environment: NumPy alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Array", "Feed", "Samples"]

Array = np.ndarray[Any, np.dtype[Any]]
Feed = dict[str, Array]


class Samples:
    """The first ``count`` samples of a folder, each as ``{input name: array with a batch axis of 1}``."""

    def __init__(self, folder: Path, count: int | None = None) -> None:
        self._files = {path.stem: path for path in sorted(folder.glob("*.npy"))}
        lengths = {_head(path)[0][0] for path in self._files.values()}
        if len(lengths) != 1:
            raise ValueError(f"{folder}: its arrays differ in length: {sorted(lengths)}")
        (held,) = lengths
        if count is not None and count > held:
            raise ValueError(f"{folder}: {count} samples were asked for, it holds {held}")
        self._count = held if count is None else count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Feed]:
        heads = {name: _head(path) for name, path in self._files.items()}
        for number in range(self._count):
            feed = {}
            for name, (shape, dtype, start) in heads.items():
                values = math.prod(shape[1:])
                offset = start + number * values * dtype.itemsize
                feed[name] = np.fromfile(self._files[name], dtype, values, offset=offset).reshape(1, *shape[1:])
            yield feed


def _head(path: Path) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape, dtype and where the values start."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if fortran:
            raise ValueError(f"{path}: not in C order")
        return shape, dtype, file.tell()
