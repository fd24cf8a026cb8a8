"""Slices in a row become one, where each cuts axes of its own; what comes out stays the same."""

from __future__ import annotations

import pytest

from tests.unit.quantize.networks import checked, integers, model, ops

IMAGE = "float[N,4,8,8] x"
NUMBERS = integers(zero=[0], one=[1], two=[2], three=[3], five=[5], minus=[-1], far=[99], rows=[2], columns=[3], channels=[1])


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("a = Slice(x, zero, far, rows, two) y = Slice(a, one, far, columns, two)", ["Slice"]),
        ("a = Slice(x, zero, five, rows) b = Slice(a, one, minus, columns, two) y = Slice(b, zero, three, channels)", ["Slice"]),
        ("a = Slice(x, zero, far, rows, two) y = Slice(a, one, far, rows, two)", ["Slice", "Slice"]),
        ("a = Slice(x, zero, far, rows, two) r = Relu(a) y = Slice(r, one, far, columns)", ["Slice", "Relu", "Slice"]),
        (
            "a = Slice(x, zero, far, rows, two) b = Slice(a, one, far, columns) r = Relu(a) s = Slice(r, one, far, columns) y = Add(b, s)",
            None,
        ),
        ("a = Slice(x, minus, zero, rows, minus) y = Slice(a, one, far, columns)", ["Slice"]),
    ],
)
def test_slices(body: str, wanted: list[str] | None) -> None:
    used = {name: array for name, array in NUMBERS.items() if f" {name}," in body or f" {name})" in body}
    found = ops(checked(model(body, used, x=IMAGE)))
    assert wanted is None or found == wanted
