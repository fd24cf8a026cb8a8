"""Phases of a roll-out and the code it ends in, as pure arithmetic."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.pipeline.phase import Plan, batch_boards, phases, worst


@pytest.mark.parametrize(
    ("boards", "canary", "batch", "sizes"),
    [
        (0, 1, "100%", ()),
        (1, 1, "100%", (1,)),
        (2, 1, "100%", (1, 1)),
        (50, 1, "100%", (1, 49)),
        (50, 0, "100%", (50,)),
        (50, 1, "10%", (1, *(5,) * 9, 4)),
        (50, 2, "20", (2, 20, 20, 8)),
        (7, 1, "10%", (1,) * 7),
        (3, 5, "10%", (3,)),
        (10, 0, "25%", (3, 3, 3, 1)),
    ],
)
def test_the_sizes_of_phases(boards: int, canary: int, batch: str, sizes: tuple[int, ...]) -> None:
    assert phases(boards, Plan(canary=canary, batch=batch)) == sizes


@given(st.integers(0, 300), st.integers(0, 20), st.one_of(st.integers(1, 50).map(str), st.integers(1, 100).map(lambda n: f"{n}%")))
def test_every_board_is_in_one_phase(boards: int, canary: int, batch: str) -> None:
    sizes = phases(boards, Plan(canary=canary, batch=batch))
    assert sum(sizes) == boards
    assert all(size > 0 for size in sizes)
    assert all(size <= batch_boards(batch, boards) for size in sizes[1 if canary else 0 :])


@pytest.mark.parametrize("batch", ["0", "0%", "101%", "-1", "5 %", "x", "", "1.5"])
def test_what_is_no_batch(batch: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"batch": batch}, Plan)


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([], 0),
        ([0, 0], 0),
        ([0, 6], 6),
        ([6, 7, 5], 7),
        ([5, 6, 9], 6),
        ([9, 5], 5),
        ([9, 124], 124),
        ([9, 0], 9),
        ([70, 6], 70),
        ([7, 70], 7),
        ([4, 3], 3),
        ([3, 9], 9),
    ],
)
def test_the_worst_speaks_for_all(codes: list[int], code: int) -> None:
    assert worst(codes) == code
