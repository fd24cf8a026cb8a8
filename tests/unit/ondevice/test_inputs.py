"""Which array belongs to which input, and what an input makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.ondevice.inputs import encode, shapes, whole
from edgekit.ondevice.wire import AgentError

np = pytest.importorskip("numpy")


def described(name: str, dtype: str, scale: float | None = None, zero_point: int | None = None, length: int = 3) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "scale": scale, "zero_point": zero_point, "shape": [1, length]}


@pytest.mark.parametrize(
    ("entry", "value", "wanted"),
    [
        (described("a", "float32"), np.array([[0.5, 1.5, -1]]), [0.5, 1.5, -1]),
        (described("a", "float32"), np.array([[1, 2, 3]]), [1, 2, 3]),
        (described("a", "int8", 0.5, -3), np.array([[0.25, 0.75, 1000]], "float32"), [-3, -1, 127]),  # half to even
        (described("a", "int8", 0.5, -3), np.array([[1, 2, -1000]]), [-1, 1, -128]),
        (described("a", "int8", 1.0, 0), np.array([[True, False, True]]), [1, 0, 1]),
        (described("a", "uint8"), np.array([[0.5, 1.5, 300]], "float32"), [0, 2, 255]),
        (described("a", "int32"), np.array([[1, -(2**31), 2**31 - 1]]), [1, -(2**31), 2**31 - 1]),
        (described("a", "int64"), np.array([[1, 2, 3]], "uint8"), [1, 2, 3]),
        (described("a", "bool"), np.array([[1, 0, 1]]), [True, False, True]),
    ],
)
def test_an_array_as_its_input_takes_it(entry: dict[str, Any], value: Any, wanted: list[Any]) -> None:
    (found,) = encode([entry], {"x": value})
    assert (found.dtype.name, found.shape, found[0].tolist()) == (entry["dtype"], (1, 3), wanted)


@pytest.mark.parametrize(
    ("entry", "value", "why"),
    [
        (described("a", "int32"), np.array([[1, 2, 2**31]]), "ids holds values from 1 to 2147483648, and int32 ends at 2147483647"),
        (described("a", "int32"), np.array([[1, 2, -(2**40)]]), "ids holds"),
        (described("a", "uint8"), np.array([[-1, 2, 3]]), "ids holds"),
        (described("a", "bool"), np.array([[0, 1, 2]]), "ids holds"),
        (described("a", "bool"), np.array([[0.0, 1.0, 0.0]]), "truth values"),
        (described("a", "int32", length=4), np.array([[1, 2, 3]]), r"wants \[1, 4\], the preprocessed sample is \[1, 3\]"),
    ],
)
def test_what_an_input_cannot_take_is_refused(entry: dict[str, Any], value: Any, why: str) -> None:
    with pytest.raises(AgentError, match=why) as refused:
        encode([entry], {"ids": value})
    assert refused.value.kind == "input"


def test_several_arrays_go_where_their_names_say() -> None:
    inputs = [described("mask", "int8", length=1), described("ids", "int32", length=2)]
    sample = {"ids": np.array([[3, 4]]), "mask": np.array([[1]])}
    assert [value.tolist() for value in encode(inputs, sample)] == [[[1]], [[3, 4]]]
    assert shapes(inputs, ("ids", "mask")) == {"ids": [1, 2], "mask": [1, 1]}


@pytest.mark.parametrize("arrays", [("ids",), ("ids", "kinds"), ("ids", "mask", "kinds")])
def test_arrays_that_are_no_inputs_are_named(arrays: tuple[str, ...]) -> None:
    inputs = [described("mask", "int8"), described("ids", "int32")]
    with pytest.raises(AgentError, match="the model's inputs are mask, ids; the samples hold ids"):
        shapes(inputs, arrays)


def test_no_number_at_all_fits_any_type() -> None:
    assert whole(np.zeros((1, 0), "int64"), "int8", "a").shape == (1, 0)
