"""Gelu in the spellings of exporters: one node, and the same values."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest

from edgekit.graph import Graph
from edgekit.quantize.normalise import normalise
from tests.unit.quantize.networks import checked, model, ops, run, scalars

CONSTANTS = scalars(
    root=math.sqrt(2), inverse=math.sqrt(0.5), one=1, half=0.5, three=3, gain=math.sqrt(2 / math.pi), cubic=0.044715, rounded=0.7978845608
)

ERF = [
    "d = Div(x, root) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Mul(m, half)",
    "d = Mul(inverse, x) e = Erf(d) a = Add(one, e) m = Mul(half, a) y = Mul(m, x)",
    "d = Mul(x, inverse) e = Erf(d) a = Add(e, one) h = Mul(x, half) y = Mul(h, a)",
    "d = Mul(x, inverse) e = Erf(d) m = Mul(e, half) a = Add(m, half) y = Mul(x, a)",
    "h = Mul(x, half) d = Mul(x, inverse) e = Erf(d) m = Mul(h, e) y = Add(h, m)",
]

TANH = [
    "p = Pow(x, three) c = Mul(p, cubic) a = Add(x, c) b = Mul(a, gain) t = Tanh(b) u = Add(t, one) h = Mul(x, half) y = Mul(h, u)",
    (
        "s = Mul(x, x) p = Mul(s, x) c = Mul(cubic, p) a = Add(c, x) b = Mul(rounded, a)"
        " t = Tanh(b) u = Add(one, t) m = Mul(x, u) y = Mul(m, half)"
    ),
    (
        "c = Mul(x, cubic) s = Mul(c, x) a = Add(s, one) g = Mul(x, gain) b = Mul(g, a)"
        " t = Tanh(b) u = Add(t, one) h = Mul(x, half) y = Mul(h, u)"
    ),
]

LOOK_ALIKES = [
    "d = Div(x, three) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Mul(m, half)",  # another argument
    "d = Div(x, root) e = Erf(d) a = Add(e, half) m = Mul(x, a) y = Mul(m, half)",  # another offset
    "d = Div(x, root) e = Erf(d) a = Add(e, one) m = Mul(e, a) y = Mul(m, half)",  # another factor
    "d = Div(x, root) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Add(m, e)",  # never halved, and the gate read twice
    "b = Mul(x, gain) t = Tanh(b) u = Add(t, one) h = Mul(x, half) y = Mul(h, u)",  # no cube
]


def used(body: str) -> onnx.ModelProto:
    return model(body, {name: value for name, value in CONSTANTS.items() if name in body})


@pytest.mark.parametrize(("body", "approximate"), [(body, "none") for body in ERF] + [(body, "tanh") for body in TANH])
def test_every_spelling_is_one_node(body: str, approximate: str) -> None:
    graph = checked(used(body))
    assert ops(graph) == ["Gelu"]
    assert graph.nodes[0].attrs["approximate"] == approximate


@pytest.mark.parametrize("body", LOOK_ALIKES)
def test_what_only_looks_like_one_stays(body: str) -> None:
    assert "Gelu" not in ops(checked(used(body)))


def test_behind_a_sum_of_the_same_shape() -> None:
    body = f"x1 = Add(x, x) {ERF[0].replace('(x', '(x1')} "
    assert ops(checked(used(body))) == ["Add", "Gelu"]


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("opset", [17, 20])
def test_it_is_written_for_every_operator_set(opset: int, approximate: str) -> None:
    graph = normalise(used({"none": ERF, "tanh": TANH}[approximate][0]))
    raised = Graph(**{**vars(graph), "opset": opset}) if opset != graph.opset else graph
    proto = raised.to_onnx()
    onnx.checker.check_model(proto, full_check=True)
    assert ("Gelu" in [node.op_type for node in proto.graph.node]) == (opset >= 20)
    x = np.linspace(-6, 6, 256, dtype=np.float32).reshape(1, 4, 8, 8)
    whole = run(model(f'y = Gelu<approximate="{approximate}">(x)', opset=20), x=x)
    np.testing.assert_allclose(run(proto, x=x)[0], whole[0], rtol=0, atol=1e-6)
