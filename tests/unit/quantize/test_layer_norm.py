"""LayerNormalization in the spellings of exporters: one node over the last axis, and the same values."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph import Array
from tests.unit.quantize.networks import checked, model, normal, ops, positive, scalars

MEAN = "m = ReduceMean<axes=[-1]>(x) d = Sub(x, m)"
ROOT = "a = Add(v, eps) s = Sqrt(a)"
POW = f"{MEAN} p = Pow(d, two) v = ReduceMean<axes=[-1]>(p) {ROOT} n = Div(d, s)"

SPELLINGS = {
    "torch": f"{POW} t = Mul(n, g) y = Add(t, b)",
    "the product the other way round": f"{POW} t = Mul(g, n) y = Add(b, t)",
    "squares by Mul": f"{MEAN} p = Mul(d, d) v = ReduceMean<axes=[-1]>(p) {ROOT} n = Div(d, s) t = Mul(n, g) y = Add(t, b)",
    "two differences": f"{MEAN} e = Sub(x, m) p = Mul(e, e) v = ReduceMean<axes=[-1]>(p) {ROOT} n = Div(d, s) t = Mul(n, g) y = Add(t, b)",
    "one over the root": (
        f"{MEAN} p = Mul(d, d) v = ReduceMean<axes=[-1]>(p) {ROOT} r = Reciprocal(s) n = Mul(d, r) t = Mul(n, g) y = Add(t, b)"
    ),
    "mean of squares": (
        f"{MEAN} q = Mul(x, x) w = ReduceMean<axes=[-1]>(q) z = Mul(m, m) v = Sub(w, z) {ROOT} n = Div(d, s) t = Mul(n, g) y = Add(t, b)"
    ),
    "tensorflow": (
        f"{MEAN} p = Mul(d, d) v = ReduceMean<axes=[-1]>(p) {ROOT} r = Reciprocal(s) q = Mul(r, g)"
        " u = Mul(x, q) w = Mul(m, q) z = Sub(b, w) y = Add(u, z)"
    ),
    "in double precision": (
        "c = Cast<to=11>(x) m = ReduceMean<axes=[-1]>(c) d = Sub(c, m) p = Pow(d, two2) v = ReduceMean<axes=[-1]>(p)"
        " a = Add(v, eps2) s = Sqrt(a) n = Div(d, s) k = Cast<to=1>(n) t = Mul(k, g) y = Add(t, b)"
    ),
}


def constants(body: str, *shape: int) -> dict[str, Array]:
    held = {**scalars(two=2, eps=1e-5), "two2": np.array(2.0), "eps2": np.array(1e-5), "g": positive(*shape), "b": normal(*shape)}
    return {name: array for name, array in held.items() if f", {name})" in body or f"({name}," in body}


@pytest.mark.parametrize("body", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_every_spelling_is_one_node(body: str) -> None:
    graph = checked(model(body, constants(body, 8)))
    assert ops(graph) == ["LayerNormalization"]
    assert graph.nodes[0].attrs["axis"] == -1
    assert len(graph.nodes[0].inputs) == 3


@pytest.mark.parametrize(("tail", "inputs"), [("y = Relu(n)", 2), ("t = Mul(n, g) y = Relu(t)", 2), ("t = Add(n, b) y = Relu(t)", 3)])
def test_gain_and_offset_may_be_absent(tail: str, inputs: int) -> None:
    graph = checked(model(f"{POW} {tail}", constants(f"{POW} {tail}", 8)))
    assert ops(graph) == ["LayerNormalization", "Relu"]
    assert len(graph.nodes[0].inputs) == inputs


@pytest.mark.parametrize(
    ("axes", "shape", "wanted"),
    [
        ("[1]", (4, 1, 1), ["Transpose", "LayerNormalization", "Transpose"]),
        ("[1,2,3]", (4, 8, 8), ["Reshape", "LayerNormalization", "Reshape"]),
        ("[1,3]", (4, 1, 8), ["Transpose", "Reshape", "LayerNormalization", "Reshape", "Transpose"]),
    ],
)
def test_other_axes_are_moved_to_the_end(axes: str, shape: tuple[int, ...], wanted: list[str]) -> None:
    body = SPELLINGS["torch"].replace("[-1]", axes)
    assert ops(checked(model(body, constants(body, *shape)))) == wanted


def test_one_that_is_stated_over_several_axes() -> None:
    assert ops(checked(model("y = LayerNormalization<axis=2>(x, g, b)", g=positive(8, 8), b=normal(8, 8)))) == [
        "Reshape",
        "LayerNormalization",
        "Reshape",
    ]


@pytest.mark.parametrize(
    "body",
    [
        POW.replace("Div(d, s)", "Div(x, s)"),  # not centred
        POW.replace("v = ReduceMean<axes=[-1]>", "v = ReduceMean<axes=[-2]>"),  # the variance of others
        POW.replace("Pow(d, two)", "Pow(d, eps)").replace("Sub(x, m)", "Sub(x, m) o = Abs(d)").replace("Pow(d,", "Pow(o,"),  # no square
    ],
)
def test_what_only_looks_like_one_stays(body: str) -> None:
    whole = f"{body} y = Relu(n)"
    assert "LayerNormalization" not in ops(checked(model(whole, constants(whole, 8))))


def test_a_gain_along_another_axis_stays_outside() -> None:
    body = f"{POW} y = Mul(n, g)"
    assert ops(checked(model(body, constants(body, 4, 1, 1)))) == ["LayerNormalization", "Mul"]


@pytest.mark.parametrize(("opset", "parameters"), [(18, 2), (21, 4)])
def test_a_group_norm_is_one_over_each_group(opset: int, parameters: int) -> None:
    body = "y = GroupNormalization<num_groups=2>(x, g, b)"
    graph = checked(model(body, opset=opset, g=positive(parameters), b=normal(parameters)))
    assert ops(graph).count("LayerNormalization") == 1
    assert not set(ops(graph)) - {"LayerNormalization", "Reshape", "Mul", "Add"}


def test_a_root_mean_square_norm_stays_arithmetic() -> None:
    graph = checked(model("y = RMSNormalization(x, g)", opset=23, g=positive(8)))
    assert ops(graph) == ["Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul"]
