"""Layouts: whatever a model transposes, reshapes and slices, the values end where ONNX puts them, with as few moves as need be."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgekit.runtimes.tflite import TfliteRuntime
from edgekit.runtimes.tflite.inspect import operators
from edgekit.runtimes.tflite.layout import NHWC, ONNX, between, last, layout_of, permuted, reduced, reshaped, restricted, transposed
from tests.unit.runtimes.tflite.cases import Case
from tests.unit.runtimes.tflite.emitting import Runner, float_session, minmax_plan


@st.composite
def splits(draw: st.DrawFn, size: int) -> tuple[int, ...]:
    """Another shape of as many values, of at most five axes."""
    parts: list[int] = []
    while size > 1 and len(parts) < 4 and draw(st.booleans()):
        part = draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        parts.append(part)
        size //= part
    parts.append(size)
    return tuple(parts)


@st.composite
def chains(draw: st.DrawFn) -> tuple[tuple[int, ...], str]:
    """An input's shape, and nodes that move and clamp its values, the last of which makes y."""
    shape: tuple[int, ...] = (1, *draw(st.tuples(st.sampled_from([2, 3, 4]), st.integers(1, 4), st.integers(1, 3))))
    start, lines, held = shape, [], "x"
    count = draw(st.integers(1, 5))
    for number in range(count):
        made = "y" if number == count - 1 else f"t{number}"
        kind = draw(st.sampled_from(["transpose", "reshape", "clamp", "join", "pool"]))
        if kind == "transpose":
            perm = draw(st.permutations(range(len(shape))))
            lines.append(f"{made} = Transpose<perm={list(perm)}>({held})")
            shape = permuted(shape, perm)
        elif kind == "reshape":
            shape = draw(splits(math.prod(shape)))
            lines.append(f"s{number} = Constant<value_ints={list(shape)}>() {made} = Reshape({held}, s{number})")
        elif kind == "join":
            axis = draw(st.integers(0, len(shape) - 1))
            lines.append(f"{made} = Concat<axis={axis}>({held}, {held})")
            shape = (*shape[:axis], 2 * shape[axis], *shape[axis + 1 :])
        elif kind == "pool" and len(shape) == 4:
            lines.append(f"{made} = MaxPool<kernel_shape=[1,1]>({held})")
        else:
            lines.append(f"{made} = Relu({held})")
        held = made
    return start, " ".join(lines)


@settings(max_examples=100)
@given(chains(), st.sampled_from(["nhwc", "nchw"]))
def test_values_end_where_onnx_puts_them(chain: tuple[tuple[int, ...], str], layout: str) -> None:
    shape, body = chain
    # An input that is turned from channels last at once is channels last.
    assume("Transpose<perm=[0, 3, 1, 2]>(x)" not in body)
    case = Case(name="moves", inputs={"x": shape}, body=body)
    graph, samples = case.graph(), case.samples()[:2]
    artifact = TfliteRuntime().emit(graph, minmax_plan(graph, samples), io_dtype="int8", layout=layout)
    runner = Runner(artifact.data)
    turned = {name: order == "nhwc" for name, order in artifact.layouts.items()}
    for sample in samples:
        raw = runner.quantize(np.ascontiguousarray(sample.transpose(NHWC)) if turned["x"] else sample)
        seen = runner.inputs["x"]["quantization"]
        given = ((raw.astype(np.float32) - seen[1]) * np.float32(seen[0])).astype(np.float32)
        (reference,) = float_session(graph).run(None, {"x": np.ascontiguousarray(given.transpose(0, 3, 1, 2)) if turned["x"] else given})
        got = runner.real(raw)
        # Nothing is computed, so nothing is rounded but for the one scale of all.
        np.testing.assert_allclose(got, reference.transpose(NHWC) if turned["y"] else reference, atol=2.01 * seen[0])


TOKENS = """
s = Constant<value_ints=[1,4,30]>() a = Reshape(x, s) b = Transpose<perm=[0,2,1]>(a) c = MatMul(b, w) d = Transpose<perm=[0,2,1]>(c)
t = Constant<value_ints=[1,4,6,5]>() y = Reshape(d, t)
"""
SHUFFLE = """
s = Constant<value_ints=[1,2,2,6,5]>() a = Reshape(x, s) b = Transpose<perm=[0,2,1,3,4]>(a) t = Constant<value_ints=[1,4,6,5]>()
y = Reshape(b, t)
"""
ANCHORS = """
s = Constant<value_ints=[1,2,2,6,5]>() a = Reshape(x, s) b = Transpose<perm=[0,1,3,4,2]>(a) c = Sigmoid(b)
t = Constant<value_ints=[1,60,2]>() y = Reshape(c, t)
"""


@pytest.mark.parametrize(
    ("body", "transposes"),
    [
        ("a = Transpose<perm=[0,2,3,1]>(x) b = Sigmoid(a) y = Transpose<perm=[0,3,1,2]>(b)", 0),
        (TOKENS, 0),
        (SHUFFLE, 1),
        (ANCHORS, 1),
        ("y = Softmax<axis=1>(x)", 0),
        ("y = ReduceMean<axes=[1], keepdims=0>(x)", 0),
    ],
    ids=["there and back", "tokens of an image", "channel shuffle", "anchors of a grid", "softmax over channels", "mean over channels"],
)
def test_needless_transpositions_are_not_written(body: str, transposes: int) -> None:
    case = Case(name="t", inputs={"x": (1, 4, 6, 5)}, weights={"w": (4, 4)}, body=body)
    graph = case.graph()
    uses = operators(TfliteRuntime().emit(graph, minmax_plan(graph, case.samples()), io_dtype="int8", layout="nhwc").data)
    assert sum(use.name == "TRANSPOSE" for use in uses) == transposes


def test_arithmetic_of_layouts() -> None:
    assert layout_of((0, 1, 2)) == ONNX
    assert permuted((1, 3, 8, 6), NHWC) == (1, 8, 6, 3)
    assert permuted((1, 3), ONNX) == (1, 3)
    assert between(ONNX, NHWC, 4) == NHWC
    assert between(NHWC, ONNX, 4) == (0, 3, 1, 2)
    assert last(NHWC, 2, 4) == (0, 3, 1, 2)
    assert reduced(NHWC, [1], 4) == ONNX
    assert reduced(NHWC, [2], 4) == (0, 2, 1)
    assert restricted(NHWC, 3, 4) == (1, 2, 0)
    assert transposed(NHWC, [0, 2, 3, 1]) == ONNX
    for perm in permutations(range(3)):
        assert transposed(layout_of(perm), perm) == ONNX


@pytest.mark.parametrize(
    ("before", "after", "layout", "found"),
    [
        ((1, 4, 6, 5), (1, 4, 30), NHWC, (NHWC, (0, 2, 1))),
        ((1, 4, 30), (1, 4, 6, 5), (0, 2, 1), ((0, 2, 1), NHWC)),
        ((1, 4, 6, 5), (1, 2, 2, 6, 5), NHWC, (NHWC, (0, 3, 4, 1, 2))),
        # Apart, and brought together: as ONNX has them, or in the order of an image.
        ((1, 4, 6, 5), (1, 120), NHWC, (ONNX, ONNX)),
        ((1, 2, 2, 6, 5), (1, 4, 6, 5), (0, 3, 4, 2, 1), ((0, 3, 4, 1, 2), NHWC)),
        # Ones may stand anywhere.
        ((4, 1, 1), (1, 4, 1, 1), ONNX, (ONNX, ONNX)),
        ((6, 4), (4, 6), ONNX, (ONNX, ONNX)),
    ],
)
def test_reshapes(before: tuple[int, ...], after: tuple[int, ...], layout: tuple[int, ...], found: object) -> None:
    assert reshaped(before, after, layout) == found


def test_no_layout_where_sizes_have_nothing_in_common() -> None:
    assert reshaped((0, 3), (0,), ONNX) is None
