"""What a metric keeps of the evaluation set, as a file of the bundle: there and back, and bounded."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.evaluation import Kept, read_statistics, write_statistics
from edgekit.metrics import Statistics, collect
from edgekit.ondevice import samples

BEFORE = collect([np.ones((2, 3)), np.zeros((0, 3)), np.full((1, 3), 0.5)])
AFTER = collect([np.ones((1, 3)), np.zeros((1, 3)), np.zeros((1, 3))])


@pytest.mark.parametrize("vectors", [None, np.ones((3, 4), np.float32)])
def test_there_and_back(tmp_path: Path, vectors: Any) -> None:
    data = write_statistics(tmp_path / "kept.npz", Kept(BEFORE, AFTER, vectors))
    assert data == write_statistics(tmp_path / "again.npz", Kept(BEFORE, AFTER, vectors))
    found = read_statistics(tmp_path / "kept.npz", "kept")
    assert not found.before.changed(BEFORE).any()
    assert not found.after.changed(AFTER).any()
    assert (found.vectors is None) == (vectors is None)


@pytest.mark.parametrize(
    "change",
    [
        {"float": np.ones((3, 3), np.float32)},
        {"float": np.full((3, 3), np.inf)},
        {"float_rows": np.array([2, 0, 2])},
        {"float_rows": np.array([4, 0, -1])},
        {"float_rows": np.array([1 << 62, 1 << 62, 3])},
        {"artifact_rows": np.array([1, 2])},
        {"artifact": np.ones(3)},
        {"vectors": np.ones((2, 4), np.float32)},
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    arrays = {"float": BEFORE.values, "float_rows": BEFORE.rows, "artifact": AFTER.values, "artifact_rows": AFTER.rows}
    samples.write(tmp_path / "kept.npz", [{**arrays, **change}])
    with pytest.raises(InputError, match="not what a metric keeps"):
        read_statistics(tmp_path / "kept.npz", "kept")


@given(place=st.integers(0, 2000), value=st.integers(0, 255))
def test_a_damaged_file_is_refused_or_read(place: int, value: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("kept") / "kept.npz"
    data = bytearray(write_statistics(path, Kept(BEFORE, AFTER)))
    data[place % len(data)] = value
    path.write_bytes(data)
    found = None
    with contextlib.suppress(InputError):
        found = read_statistics(path, "kept")
    assert found is None or len(found.before) == len(found.after) == 3


def test_what_is_too_large_does_not_travel(tmp_path: Path) -> None:
    endless = Statistics(np.broadcast_to(np.zeros(1), (1 << 26, 1)), np.ones(1, np.int64))
    with pytest.raises(InputError, match="512 MiB"):
        write_statistics(tmp_path / "kept.npz", Kept(endless, AFTER))
