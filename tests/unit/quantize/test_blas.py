from __future__ import annotations

import ctypes
import importlib

import pytest

from edgekit.quantize.blas import one_thread


def test_products_have_one_thread_inside_and_as_many_as_before_behind() -> None:
    library = ctypes.CDLL(str(importlib.import_module("numpy.linalg._umath_linalg").__file__))
    threads = getattr(library, "scipy_openblas_get_num_threads64_", None)
    if threads is None:
        pytest.skip("numpy is built on another library than OpenBLAS")
    before, inside = threads(), []

    def interrupted() -> None:
        with one_thread():
            inside.append(threads())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert inside == [1]
    assert threads() == before
