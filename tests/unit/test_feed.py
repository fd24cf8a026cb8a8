"""Which array of a sample becomes which input of a network, and what the device is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.dataset import Dataset, open_dataset
from edgekit.errors import InputError
from edgekit.feed import Feed, bind, check_samples
from edgekit.model import TensorSpec
from edgekit.parse import into
from edgekit.preprocess import Preprocess

IMAGE = TensorSpec("image", "float32", (1, 3, 4, 4))
DEPTH = TensorSpec("depth", "float32", (1, 1, 4, 4))
FACTS = TensorSpec("facts", "float32", (1, 5))
IDS = TensorSpec("ids", "int64", (1, 6))
MASK = TensorSpec("mask", "bool", (1, 6))

ARRAYS: dict[str, np.ndarray] = {
    "image": np.arange(48, dtype=np.uint8).reshape(4, 4, 3),
    "depth": np.arange(16, dtype=np.uint8).reshape(4, 4, 1),
    "facts": np.linspace(-1, 1, 5),
    "ids": np.arange(6),
    "mask": np.ones(6, np.int64),
}


@pytest.fixture
def a_set(tmp_path: Path) -> Any:
    """Make a dataset of the same sample twice."""

    def make(**arrays: np.ndarray) -> Dataset:
        pairs: dict[str, Any] = {name: np.stack([x, x]) for name, x in arrays.items()}
        np.savez(tmp_path / "set.npz", **pairs)
        return open_dataset("set.npz", tmp_path, tmp_path / "container")

    return make


def feed_of(a_set: Any, *inputs: TensorSpec, arrays: dict[str, np.ndarray] | None = None, **preprocess: Any) -> tuple[Feed, Dataset]:
    dataset = a_set(**(arrays or {spec.name: ARRAYS[spec.name] for spec in inputs}))
    return bind(into(preprocess, Preprocess, "test"), inputs, dataset), dataset


@pytest.mark.parametrize(
    ("inputs", "declared", "processed"),
    [
        ((IMAGE,), {}, ["image"]),
        ((FACTS,), {"scale": 2.0}, ["facts"]),
        ((IDS,), {}, []),
        ((IMAGE, FACTS, IDS), {"scale": 2.0}, ["image"]),
        ((IMAGE, DEPTH), {}, ["image", "depth"]),
        ((IMAGE, DEPTH), {"inputs": ["depth"]}, ["depth"]),
        ((IMAGE, FACTS), {"inputs": ["facts"], "scale": 2.0}, ["facts"]),
        ((IMAGE, FACTS), {"inputs": []}, []),
        ((FACTS, IDS), {}, []),
        ((FACTS, IDS), {"layout": "nhwc"}, []),
        ((FACTS, IDS), {"scale": 2.0}, ["facts"]),
        ((IDS, MASK), {"pad": {"ids": 0}}, []),
    ],
)
def test_which_inputs_the_steps_are_for(a_set: Any, inputs: tuple[TensorSpec, ...], declared: dict[str, Any], processed: list[str]) -> None:
    feed, dataset = feed_of(a_set, *inputs, **declared)
    assert list(feed.processed) == processed
    assert feed.to_wire()["inputs"] == processed
    for sample in dataset:
        fed = feed(sample)
        assert [(name, value.dtype.name) for name, value in fed.items()] == [(spec.name, spec.dtype) for spec in inputs]
        for spec in inputs:
            if spec.name not in processed:
                assert np.array_equal(fed[spec.name], ARRAYS[spec.name][None].astype(spec.dtype))


@pytest.mark.parametrize(
    ("inputs", "declared", "message"),
    [
        ((FACTS, TensorSpec("more", "float32", (1, 5)), IDS), {"scale": 2.0}, "for which of facts, more"),
        ((IDS, MASK), {"mean": [1.0]}, "whole numbers alone"),
        ((IMAGE, IDS), {"inputs": ["ids"]}, "'ids' is int64"),
        ((IMAGE, IDS), {"inputs": ["picture"]}, r"\[preprocess\] inputs: the model has no input 'picture'; its inputs are image, ids"),
        ((IMAGE, IDS), {"pad": {"id": 0}}, r"\[preprocess\] pad: the model has no input 'id'"),
    ],
)
def test_a_declaration_that_fits_no_input(a_set: Any, inputs: tuple[TensorSpec, ...], declared: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        feed_of(a_set, *inputs, arrays={spec.name: ARRAYS.get(spec.name, ARRAYS["facts"]) for spec in inputs}, **declared)


def test_the_only_array_may_have_any_name(a_set: Any) -> None:
    feed, dataset = feed_of(a_set, IMAGE, arrays={"x": ARRAYS["image"]}, scale=0.5, pad={"image": 0})
    assert feed.to_wire() == {**Preprocess(scale=0.5).to_wire(), "pad": {"x": 0.0}}
    assert list(feed(next(iter(dataset)))) == ["image"]
    feed, _ = feed_of(a_set, IDS, arrays={"x": ARRAYS["ids"]})
    assert feed.to_wire()["inputs"] == []


@pytest.mark.parametrize("arrays", [("x",), ("ids",), ("ids", "x"), ("ids", "mask", "facts")])
def test_arrays_that_are_no_inputs(a_set: Any, arrays: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=f"holds the arrays {', '.join(sorted(arrays))}; the model's inputs are ids, mask"):
        feed_of(a_set, IDS, MASK, arrays={name: ARRAYS.get(name, ARRAYS["ids"]) for name in arrays})


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.arange(6.0), "[preprocess]: the model's input 'ids' is int64, the sample holds float64"),
        (np.full(6, 1 << 63, np.uint64), "int64 ends at"),
        (np.arange(7), "set.npz[0]: the shape of its ids is [1, 7], the model's input 'ids' takes [1, 6]"),
        (np.arange(4), "pad = { ids = 0 } under [preprocess]"),
    ],
)
def test_samples_that_an_input_cannot_take(a_set: Any, ids: np.ndarray, message: str) -> None:
    feed, dataset = feed_of(a_set, IDS, MASK, arrays={"ids": ids, "mask": ARRAYS["mask"]})
    with pytest.raises(InputError) as refused:
        check_samples(feed, dataset)
    assert message in f"{refused.value.message} {refused.value.fix}"


def test_short_samples_are_padded_where_declared(a_set: Any) -> None:
    feed, dataset = feed_of(a_set, IDS, MASK, arrays={"ids": np.arange(4), "mask": np.ones(4, bool)}, pad={"ids": 9, "mask": 0})
    check_samples(feed, dataset)
    fed = feed(next(iter(dataset)))
    assert fed["ids"].tolist() == [[0, 1, 2, 3, 9, 9]]
    assert fed["mask"].tolist() == [[True] * 4 + [False] * 2]
    assert feed.to_wire()["pad"] == {"ids": 9, "mask": 0}
