"""An ``.npz`` of samples, row by row, so that a set may be larger than memory. `edgekit.dataset` reads it.

``numpy.load`` reads a whole array at once; here the entries of the zip are streamed side by side.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgekit.errors import InputError
from edgekit.ondevice.samples import REFUSED, npy_header

__all__ = ["rows"]

Array = np.ndarray[Any, np.dtype[Any]]

_SUFFIX = ".npy"
_FIX = "np.savez_compressed(path, x=samples, y=labels): a row per sample; with several inputs, an array for each by its name"


def rows(path: Path) -> Iterator[dict[str, Array]]:
    """Yield the first row of every array by the array's name, then the second of every one, ...

    Memory holds one row of each, unless an array is stored in Fortran order: then all of it.

    Raises
    ------
    InputError
        The file is no ``.npz``, it holds no array, or something else than arrays of plain values, or
        they differ in length.
    """
    try:
        with ExitStack() as stack:
            archive = stack.enter_context(zipfile.ZipFile(path))
            names = [name for name in archive.namelist() if name.endswith(_SUFFIX)]
            columns = {name[: -len(_SUFFIX)]: _column(stack.enter_context(archive.open(name))) for name in names}
            lengths = {shape[0] if shape else None for shape, _ in columns.values()}
            if len(lengths) != 1 or None in lengths:
                shapes = ", ".join(f"{name} {list(shape)}" for name, (shape, _) in columns.items())
                raise InputError(f"{path}: the arrays are {shapes or 'none'}, and must be of one length", fix=_FIX)
            for row in zip(*(values for _, values in columns.values()), strict=True):
                yield dict(zip(columns, row, strict=True))
    except (*REFUSED, zlib.error) as error:
        raise InputError(f"{path}: not a readable .npz: {error}", fix=_FIX) from error


def _column(file: IO[bytes]) -> tuple[tuple[int, ...], Iterator[Array]]:
    """Return an array's shape and its rows, which are read as they are taken."""
    shape, fortran_order, dtype = npy_header(file)

    def read(shape: tuple[int, ...]) -> Array:
        data = file.read(math.prod(shape, start=dtype.itemsize))
        array: Array = np.ndarray(shape, dtype, data, order="F" if fortran_order else "C")
        return array

    def each() -> Iterator[Array]:
        yield from read(shape) if fortran_order else (read(shape[1:]) for _ in range(shape[0]))
        if file.read(1):  # the zip's checksum is looked at when its entry ends
            raise ValueError("an array is longer than its header says")

    return shape, each()
