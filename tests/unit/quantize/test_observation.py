"""Observations: the same whatever the cuts, the same when read back, and refused when anything is wrong with them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.graph import Array, Graph
from edgekit.quantize.counter import counted_values
from edgekit.quantize.histogram import Histogram
from edgekit.quantize.normalise import normalise
from edgekit.quantize.observation import Identity, Observations, Spans, decode, encode, without
from edgekit.quantize.observe import observe, observed
from tests.unit.quantize.networks import model, normal

COUNT = 12
# One channel of the input is too large to be counted value by value.
SAMPLES = normal(COUNT, 4, 96, 96, scale=1.0)
MAGIC = b"edgekit.observations/1\n"
HEX = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def graph() -> Graph:
    body = "c = Conv<strides=[8,8]>(x, w) r = Relu(c) f = Flatten(r) y = Gemm(f, v)"
    return normalise(model(body, x="float[N,4,96,96] x", w=normal(3, 4, 3, 3), v=normal(432, 5)))


@pytest.fixture(scope="module")
def identity(graph: Graph) -> Identity:
    return Identity(graph_sha256=graph.sha256, dataset_sha256=HEX, samples=COUNT, feed_sha256=HEX, tools={"onnxruntime": "1"})


def batches(start: int, end: int, size: int) -> Iterator[dict[str, Array]]:
    for first in range(start, end, size):
        yield {"x": SAMPLES[first : min(end, first + size)]}


def part(graph: Graph, identity: Identity, start: int, end: int, size: int = 1) -> Observations:
    return Observations(identity, ((start, end),), observe(graph, batches(start, end, size), total=end - start))


@pytest.fixture(scope="module")
def whole(graph: Graph, identity: Identity) -> Observations:
    return part(graph, identity, 0, COUNT)


@given(cuts=st.sets(st.integers(1, COUNT - 1), max_size=4), size=st.integers(1, 5), data=st.data())
@settings(max_examples=40)
def test_any_cuts_order_and_batches_give_the_same(
    graph: Graph, identity: Identity, whole: Observations, cuts: set[int], size: int, data: st.DataObject
) -> None:
    edges = [0, *sorted(cuts), COUNT]
    parts = [part(graph, identity, start, end, size) for start, end in itertools.pairwise(edges)]
    total = Observations(identity)
    for one in data.draw(st.permutations(parts)):
        total = total + one
    assert total == whole
    assert (total.missing, total.count) == ((), COUNT)
    assert encode(total) == encode(whole)


def test_samples_count_once(graph: Graph, identity: Identity) -> None:
    first, second = part(graph, identity, 0, 5), part(graph, identity, 7, 9)
    both = first + second
    assert (both.spans, both.missing, both.count) == (((0, 5), (7, 9)), ((5, 7), (9, COUNT)), 7)
    with pytest.raises(InputError, match="sample 4 is in both"):
        first + part(graph, identity, 4, 6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"graph_sha256": "0" * 64}, "another graph"),
        ({"dataset_sha256": "0" * 64}, "another calibration set"),
        ({"feed_sha256": "0" * 64}, "another preprocessing"),
        ({"samples": 99}, "another number of samples"),
        ({"tools": {"onnxruntime": "2"}}, "other versions (onnxruntime 1, here onnxruntime 2)"),
    ],
)
def test_observations_of_other_things_do_not_merge(whole: Observations, change: dict[str, Any], words: str) -> None:
    other = Observations(msgspec.structs.replace(whole.identity, **change))
    with pytest.raises(InputError) as refused:
        whole + other
    assert words in refused.value.message
    assert other.identity.sha256 != whole.identity.sha256


spans = st.lists(st.integers(0, 30), unique=True, max_size=8).map(sorted).map(lambda v: tuple(zip(v[::2], v[1::2], strict=False)))


@given(spans, spans)
def test_without_is_the_difference_of_sets(some: Spans, taken: Spans) -> None:
    def members(of: Spans) -> set[int]:
        return {number for start, end in of for number in range(start, end)}

    left = without(some, taken)
    assert members(left) == members(some) - members(taken)
    assert all(start < end for start, end in left)


def test_what_is_written_is_read(graph: Graph, whole: Observations) -> None:
    data = encode(whole)
    found = decode(data, "here")
    assert found == whole
    assert encode(found) == data
    found.check(graph)
    assert len(data) < 60_000
    empty = Observations(whole.identity)
    assert decode(encode(empty), "here") == empty


@given(place=st.integers(0, 1 << 20), bit=st.integers(0, 7), cut=st.booleans())
@settings(max_examples=60)
def test_any_damage_is_found(whole: Observations, place: int, bit: int, cut: bool) -> None:
    data = bytearray(encode(whole))
    place %= len(data)
    damaged = bytes(data[:place]) if cut else bytes(data[:place]) + bytes([data[place] ^ 1 << bit]) + bytes(data[place + 1 :])
    with pytest.raises(InputError, match="here: no observations that edgekit can use"):
        decode(damaged, "here")


def forged(whole: Observations, **changes: Any) -> bytes:
    """Write a file whose digest fits, with one thing in its first tensor, or around it, that cannot be."""
    body = msgspec.msgpack.decode(encode(whole)[len(MAGIC) + 32 :])
    tensor = body["tensors"][0]
    for name, value in changes.items():
        target = tensor if name in tensor else body
        target[name] = value(target[name]) if callable(value) else value
    data = msgspec.msgpack.encode(body)
    return MAGIC + hashlib.sha256(data).digest() + data


@pytest.mark.parametrize(
    "changes",
    [
        {"lo": float("nan")},
        {"hi": 1e39},
        {"lo": lambda lo: lo / 2},
        {"exponent": lambda exponent: exponent + 1},
        {"first": lambda first: first - 1},
        {"zeros": -1},
        {"zeros": 1 << 62},
        {"counts": b""},
        {"counts": lambda counts: counts[:-1]},
        {"counts": lambda counts: counts + counts},
        {"width": 3},
        {"width": 8},
        {"name": 5},
        {"spans": [[0, 13]]},
        {"spans": [[3, 3]]},
        {"spans": [[4, 6], [0, 2]]},
        {"spans": [[0, 2], [2, 4]]},
        {"spans": []},
        {"tensors": []},
        {"tensors": lambda tensors: tensors + tensors[:1]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_cannot_be_is_refused(whole: Observations, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no observations that edgekit can use"):
        decode(forged(whole, **changes), "here")


@pytest.mark.parametrize("change", [lambda h: {**h, "more": h["x"]}, lambda h: {"x": h["x"]}, lambda h: {**h, "x": h["x"] + h["x"]}])
def test_observations_must_fit_their_graph(graph: Graph, whole: Observations, change: Any) -> None:
    histograms: Mapping[str, Histogram] = change(whole.histograms)
    with pytest.raises(InputError, match="do not fit the graph"):
        replace(whole, histograms=histograms).check(graph)


def test_a_large_tensor_gives_an_even_share_and_its_whole_range(graph: Graph) -> None:
    assert observed(graph)[0] == "x"
    seen = observe(graph, batches(0, COUNT, COUNT), total=COUNT)["x"]
    assert (seen.lo, seen.hi) == (SAMPLES.min(), SAMPLES.max())
    assert seen.total == COUNT * counted_values(SAMPLES[0].size)[0] < SAMPLES.size
    exact = Histogram.of(SAMPLES)
    shares = np.cumsum(seen.counts) / seen.total, np.cumsum(exact.counts) / exact.total
    assert (seen.exponent, seen.first) == (exact.exponent, exact.first)
    assert np.abs(shares[0] - shares[1]).max() < 0.01


@given(st.integers(1, 1 << 22))
def test_the_share_goes_through_all_axes(size: int) -> None:
    count, step = counted_values(size)
    assert 1 <= count <= 1 << 15
    assert np.gcd(step, size) == 1
    assert (step == 1) == (size <= 1 << 15)
    assert count * step <= size < (count + 1) * step
