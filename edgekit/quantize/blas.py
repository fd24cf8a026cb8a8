"""``one_thread``: keep numpy's matrix products on one thread while other threads keep the cores busy.

OpenBLAS and ONNX Runtime each wait for their own threads by spinning. Taking turns every millisecond, as
``recover`` and ``equalise`` do, they wait for each other's: four times the processor time on two cores. Work is
shared out by layer and by sample instead.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit OpenBLAS as numpy's wheels carry it; any other library stays as it is."""
    # The names under which numpy's wheels link it (numpy/openblas-libs); a symbol is found through whatever the module links.
    module = importlib.import_module("numpy.linalg._umath_linalg")
    library = ctypes.CDLL(str(module.__file__))
    read = getattr(library, "scipy_openblas_get_num_threads64_", None)
    write = getattr(library, "scipy_openblas_set_num_threads64_", None)
    if read is None or write is None:
        yield
        return
    before = read()
    write(1)
    try:
        yield
    finally:
        write(before)
