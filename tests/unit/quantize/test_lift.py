"""Networks over sequences become networks over images of height 1, with a Reshape at the borders alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from edgekit.graph import Array
from tests.unit.quantize.networks import checked, integers, model, normal, ops, positive, scalars

SEQUENCE = "float[N,4,32] x"
CONV = "c = Conv(x, w)"

BODIES: dict[str, tuple[str, dict[str, Array], list[str]]] = {
    "residual block": (
        (
            "a = Conv<pads=[1,1]>(x, w, b) n = BatchNormalization(a, g, h, m, v) r = Relu(n)"
            " k = Conv<pads=[1,1]>(r, u) s = Add(r, k) y = Relu(s)"
        ),
        {"b": normal(6), "g": positive(6), "h": normal(6), "m": normal(6), "v": positive(6), "u": normal(6, 6, 3)},
        ["Conv", "Relu", "Conv", "Add", "Relu", "Reshape"],
    ),
    "strides, dilation, uneven pads": ("y = Conv<strides=[2], dilations=[3], pads=[2,1]>(x, w)", {}, ["Conv", "Reshape"]),
    "automatic padding": ('y = Conv<auto_pad="SAME_LOWER", strides=[2]>(x, w)', {}, ["Conv", "Reshape"]),
    "pools": (
        f"{CONV} p = MaxPool<kernel_shape=[2], strides=[2]>(c) y = AveragePool<kernel_shape=[3], strides=[2], pads=[1,1], ceil_mode=1>(p)",
        {},
        ["Conv", "MaxPool", "AveragePool", "Reshape"],
    ),
    "a classifier": (
        f"{CONV} p = GlobalMaxPool(c) f = Flatten(p) y = Gemm(f, k)",
        {"k": normal(6, 3)},
        ["Conv", "GlobalMaxPool", "Reshape", "Gemm"],
    ),
    "a mean over the length": (f"{CONV} y = ReduceMean<axes=[2], keepdims=0>(c)", {}, ["Conv", "ReduceMean"]),
    "a mean that stays a sequence": (f"{CONV} q = ReduceMean<axes=[-1]>(c) y = Mul(c, q)", {}, ["Conv", "ReduceMean", "Mul", "Reshape"]),
    "a gate": (f"{CONV} g = Sigmoid(c) t = Tanh(c) y = Mul(g, t)", {}, ["Conv", "Sigmoid", "Tanh", "Mul", "Reshape"]),
    "constants of every rank": (
        f"{CONV} a = Div(c, one) b = Max(a, per_step) d = Add(b, per_channel) e = Sub(two, d) y = Mul(e, whole)",
        {**scalars(two=2), "one": positive(1, 6, 1), "per_step": normal(30), "per_channel": normal(6, 1), "whole": normal(1, 6, 30)},
        ["Conv", "Max", "Add", "Sub", "Mul", "Reshape"],
    ),
    "moves": (
        f"{CONV} s = Slice(c, two, most, last) p = Pad(s, pads) q, r = Split<axis=1>(p, half) y = Concat<axis=2>(q, r, k)",
        {**integers(two=[2], most=[20], last=[-1], pads=[0, 0, 3, 0, 0, 1], half=[3, 3]), "k": normal(1, 3, 2)},
        ["Conv", "Slice", "Pad", "Split", "Concat", "Reshape"],
    ),
    "a resize": (
        f'{CONV} y = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(c, , s)',
        {"s": np.array([1, 1, 2], np.float32)},
        ["Conv", "Resize", "Reshape"],
    ),
    "a softmax over channels": (f"{CONV} y = Softmax<axis=1>(c)", {}, ["Conv", "Softmax", "Reshape"]),
    "a slope per channel": (f"{CONV} y = PRelu(c, s)", {"s": positive(6, 1)}, ["Conv", "PRelu", "Reshape"]),
}


@pytest.mark.parametrize(("body", "more", "wanted"), BODIES.values(), ids=BODIES.keys())
def test_a_reshape_at_the_borders_alone(body: str, more: dict[str, Array], wanted: list[str]) -> None:
    graph = checked(model(body, more, x=SEQUENCE, w=normal(6, 4, 3)))
    assert Counter(ops(graph)) == Counter(["Reshape", *wanted])
    assert ops(graph)[-1] == wanted[-1]


def test_a_transposed_convolution() -> None:
    body = "y = ConvTranspose<strides=[2], output_padding=[1], pads=[1,1], group=2>(x, w, b)"
    assert ops(checked(model(body, x=SEQUENCE, w=normal(4, 3, 3), b=normal(6)))) == ["Reshape", "ConvTranspose", "Reshape"]


def test_channels_last_outside_are_channels_last_inside() -> None:
    body = "t = Transpose<perm=[0,2,1]>(x) c = Conv(t, w) r = Relu(c) y = Transpose<perm=[0,2,1]>(r)"
    graph = checked(model(body, x="float[N,32,4] x", w=normal(6, 4, 3)))
    assert ops(graph) == ["Reshape", "Transpose", "Conv", "Relu", "Transpose", "Reshape"]
    assert [node.attrs["perm"] for node in graph.nodes if node.op == "Transpose"] == [[0, 3, 1, 2], [0, 2, 3, 1]]


def test_outputs_in_the_middle_are_sequences() -> None:
    graph = checked(model(f"{CONV} r = Relu(c) y = Conv(r, u)", x=SEQUENCE, y="float[] r, float[] y", w=normal(6, 4, 3), u=normal(6, 6, 1)))
    assert [spec.shape for spec in graph.outputs] == [(1, 6, 30), (1, 6, 30)]
    assert Counter(ops(graph)) == {"Reshape": 3, "Conv": 2, "Relu": 1}


def test_what_is_no_image_reads_the_sequence() -> None:
    graph = checked(
        model(
            f"{CONV} s = Softmax<axis=2>(c) t = Transpose<perm=[2,1,0]>(s) m = MatMul(t, k) y = Relu(m)",
            x=SEQUENCE,
            w=normal(6, 4, 3),
            k=normal(1, 5),
        )
    )
    assert ops(graph)[-1] == "Relu"


def test_sequences_without_windows_stay() -> None:
    assert ops(checked(model("a = Relu(x) y = Mul(a, x)", x=SEQUENCE))) == ["Relu", "Mul"]


def test_images_stay() -> None:
    assert ops(checked(model("y = Conv(x, w)", w=normal(6, 4, 3, 3)))) == ["Conv"]
