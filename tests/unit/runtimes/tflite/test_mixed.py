"""Mixed precision: what a plan keeps in float is float in the file, and no bridge is there for nothing."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from edgekit.errors import BuildError
from edgekit.graph import Graph
from edgekit.plan import NodePrecision, QuantPlan
from edgekit.runtimes.tflite import TfliteRuntime
from edgekit.runtimes.tflite.inspect import operators
from tests.unit.runtimes.tflite.cases import Case
from tests.unit.runtimes.tflite.emitting import Runner, float_session, minmax_plan, sqnr_db

WEIGHTS = {"v": (4, 3, 3, 3), "w": (4, 4, 3, 3), "b": (4,)}
CHAIN = "c = Conv<pads=[1,1,1,1]>(x, v, b) r = Relu(c) d = Conv<pads=[1,1,1,1]>(r, w, b) y = Relu(d)"


def planned(body: str, kept: Sequence[str], outputs: tuple[str, ...] = ("y",)) -> tuple[Graph, QuantPlan, Case]:
    case = Case(name="mixed", inputs={"x": (1, 3, 8, 6)}, weights=WEIGHTS, body=body, outputs=outputs)
    graph = case.graph()
    plan = minmax_plan(graph, case.samples())
    return graph, msgspec.structs.replace(plan, nodes=plan.nodes | {name: NodePrecision("float32", "asked") for name in kept}), case


def written(body: str, kept: Sequence[str], io_dtype: str = "int8", outputs: tuple[str, ...] = ("y",)) -> list[str]:
    graph, plan, _ = planned(body, kept, outputs)
    data = TfliteRuntime().emit(graph, plan, io_dtype=io_dtype, layout="nhwc").data
    return [f"{use.name.lower()}{' float' if use.outputs[0] == 'float32' else ''}" for use in operators(data)]


@pytest.mark.parametrize(
    ("kept", "io_dtype", "expected"),
    [
        ([], "int8", ["conv_2d", "conv_2d"]),
        ([], "float32", ["quantize", "conv_2d", "conv_2d", "dequantize float"]),
        (["c"], "int8", ["dequantize float", "conv_2d float", "quantize", "conv_2d"]),
        (["c"], "float32", ["conv_2d float", "quantize", "conv_2d", "dequantize float"]),
        (["d"], "int8", ["conv_2d", "dequantize float", "conv_2d float", "quantize"]),
        (["d"], "uint8", ["quantize", "conv_2d", "dequantize float", "conv_2d float", "quantize", "quantize"]),
        (["d"], "float32", ["quantize", "conv_2d", "dequantize float", "conv_2d float"]),
        (["c", "d"], "float32", ["conv_2d float", "conv_2d float"]),
        # A clamp that is part of its convolution goes where that goes.
        (["r"], "int8", ["conv_2d", "conv_2d"]),
    ],
)
def test_a_float_node_is_bridged(kept: list[str], io_dtype: str, expected: list[str]) -> None:
    assert written(CHAIN, kept, io_dtype) == expected


@pytest.mark.parametrize(
    ("body", "kept", "expected"),
    [
        # A tensor is converted once for all its readers.
        (
            "r = HardSwish(x) a = Conv<pads=[1,1,1,1]>(r, v) b2 = Conv<pads=[1,1,1,1]>(r, v) y = Add(a, b2)",
            ["r", "y"],
            [
                "dequantize float",
                "hard_swish float",
                "quantize",
                "conv_2d",
                "conv_2d",
                "dequantize float",
                "dequantize float",
                "add float",
                "quantize",
            ],
        ),
        # Moves between float nodes stay float, whatever the plan says of them.
        (
            "a = Sigmoid(x) t = Transpose<perm=[0,3,2,1]>(a) m = MaxPool<kernel_shape=[2,2]>(t) y = Tanh(m)",
            ["a", "y"],
            ["dequantize float", "logistic float", "transpose float", "max_pool_2d float", "tanh float", "quantize"],
        ),
        # One between int8 nodes is no island of its own.
        ("a = Sigmoid(x) m = MaxPool<kernel_shape=[2,2]>(a) y = Tanh(m)", ["m"], ["logistic", "max_pool_2d", "tanh"]),
        # Float on one side, both on the other: one bridge instead of two.
        (
            "a = Sigmoid(x) m = MaxPool<kernel_shape=[2,2]>(a) p = Tanh(m) q = HardSwish(m) y = Add(p, q)",
            ["a", "p"],
            ["dequantize float", "logistic float", "max_pool_2d float", "tanh float", "quantize", "hard_swish", "quantize", "add"],
        ),
        # A concatenation takes the precision of most of what it joins.
        (
            "a = Sigmoid(x) b2 = Tanh(x) c2 = HardSwish(x) j = Concat<axis=1>(a, b2, c2) y = HardSwish(j)",
            ["a", "b2", "y"],
            [
                "dequantize float",
                "logistic float",
                "tanh float",
                "hard_swish",
                "dequantize float",
                "concatenation float",
                "hard_swish float",
                "quantize",
            ],
        ),
    ],
)
def test_no_bridge_is_needless(body: str, kept: list[str], expected: list[str]) -> None:
    assert written(body, kept) == expected


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("io_dtype", ["int8", "uint8", "float32"])
@pytest.mark.parametrize("kept", [["c"], ["d"], ["c", "d"]], ids=str)
def test_what_it_computes(kept: list[str], io_dtype: str, layout: str) -> None:
    graph, plan, case = planned(CHAIN, kept, outputs=("r", "y"))
    artifact = TfliteRuntime().emit(graph, plan, io_dtype=io_dtype, layout=layout)
    assert {spec.dtype for spec in (*artifact.inputs, *artifact.outputs)} == {io_dtype}
    runner, session = Runner(artifact.data), float_session(graph)
    assert [entry["name"] for entry in runner.outputs] == ["r", "y"]
    for sample in case.samples()[:4]:
        raw = runner.quantize(np.ascontiguousarray(sample.transpose(0, 2, 3, 1)) if layout == "nhwc" else sample)
        for index, reference in enumerate(session.run(None, {"x": sample})):
            got = runner.real(raw, index)
            in_model_order = got.transpose(0, 3, 1, 2) if layout == "nhwc" else got
            exact = io_dtype == "float32" and (len(kept) == 2 or (kept == ["c"] and index == 0))
            assert sqnr_db(reference, in_model_order) > (100 if exact else 30)


def test_float_nodes_do_not_widen_the_scales_of_others() -> None:
    """A concatenation in float has no common scale to keep."""
    graph, plan, _ = planned("a = Mul(x, x) j = Concat<axis=1>(a, x) y = Relu(j)", ["a", "y"])
    runner = Runner(TfliteRuntime().emit(graph, plan, io_dtype="int8", layout="nhwc").data)
    assert runner.input["quantization"][0] == pytest.approx((plan.ranges["x"].hi - plan.ranges["x"].lo) / 255, rel=1e-5)


def test_support_says_what_becomes_of_each_node() -> None:
    body = (
        "c = Conv<pads=[1,1,1,1]>(x, v, b) r = Relu(c) s = Sigmoid(x) d = Div(x, s) t = Transpose<perm=[0,3,2,1]>(d) "
        "e = Div(t, t) l = Shrink(x) p = Transpose<perm=[0,3,2,1]>(e)"
    )
    graph = Case(name="s", inputs={"x": (1, 3, 8, 6)}, weights=WEIGHTS, body=body, outputs=("r", "p", "l")).graph()
    found = TfliteRuntime().support(graph)
    assert {name: one.precision for name, one in found.items()} == {
        **dict.fromkeys(["c", "r", "s"], "int8"),
        **dict.fromkeys(["d", "t", "e", "p"], "float32"),
        "l": None,
    }
    assert "DIV" in found["d"].why
    assert "float nodes" in found["t"].why
    assert found["l"].why
    assert found["l"].fix


def test_light_arithmetic_between_float_nodes_is_float() -> None:
    """As the residual sums of a transformer: the normalisations around them are float."""
    weights = {"g": (16,), "b": (16,), "w": (16, 16)}
    body = (
        "n = LayerNormalization(x, g, b) m = MatMul(n, w) s = Add(m, n) y = LayerNormalization(s, g, b) "
        "c = Mul(x, x) d = MatMul(c, w) z = Add(d, x)"
    )
    graph = Case(name="l", inputs={"x": (1, 4, 16)}, weights=weights, body=body, outputs=("y", "z")).graph()
    found = TfliteRuntime().support(graph)
    assert {name for name, one in found.items() if one.precision == "float32"} == {"n", "s", "y"}


def test_a_plan_for_another_runtime_is_refused() -> None:
    graph, plan, _ = planned("s = Sigmoid(x) y = Div(x, s)", [])
    with pytest.raises(BuildError, match="DIV is not safe") as caught:
        TfliteRuntime().emit(graph, msgspec.structs.replace(plan, nodes={}), io_dtype="int8", layout="nhwc")
    assert caught.value.fix
