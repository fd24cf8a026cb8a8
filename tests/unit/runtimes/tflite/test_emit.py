"""The emitter as a whole: borders, names, file format, errors, decisions about scales."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from edgekit.errors import BuildError
from edgekit.graph import Array, Graph
from edgekit.plan import QuantPlan, Range, WeightScale
from edgekit.runtimes.tflite import TfliteRuntime
from edgekit.runtimes.tflite.inspect import operators
from edgekit.runtimes.tflite.schema import schema
from tests.unit.runtimes.tflite.cases import Case
from tests.unit.runtimes.tflite.emitting import Runner, float_session, minmax_plan, sqnr_db

IMAGE = Case(
    name="image to image",
    inputs={"x": (1, 3, 8, 6)},
    weights={"w": (4, 3, 3, 3), "b": (4,)},
    body="a = Conv<pads=[1,1,1,1]>(x, w, b) y = Relu(a)",
)


def planned(case: Case) -> tuple[Graph, QuantPlan, list[Array]]:
    graph, samples = case.graph(), case.samples()
    return graph, minmax_plan(graph, samples), samples


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("io_dtype", ["int8", "uint8", "float32"])
def test_borders(io_dtype: str, layout: str) -> None:
    graph, plan, samples = planned(IMAGE)
    artifact = TfliteRuntime().emit(graph, plan, io_dtype=io_dtype, layout=layout)
    runner = Runner(artifact.data)
    assert artifact.layouts == {"x": layout, "y": layout}
    assert (artifact.inputs[0].name, runner.input["name"]) == ("x", "x")
    assert (artifact.outputs[0].name, runner.outputs[0]["name"]) == ("y", "y")
    assert artifact.inputs[0].shape == tuple(runner.input["shape"]) == ((1, 8, 6, 3) if layout == "nhwc" else (1, 3, 8, 6))
    assert artifact.outputs[0].shape == tuple(runner.outputs[0]["shape"]) == ((1, 8, 6, 4) if layout == "nhwc" else (1, 4, 8, 6))
    assert artifact.inputs[0].dtype == artifact.outputs[0].dtype == io_dtype
    assert np.dtype(runner.input["dtype"]).name == np.dtype(runner.outputs[0]["dtype"]).name == io_dtype

    session = float_session(graph)
    measured, references = [], []
    for sample in samples:
        fed = sample.transpose(0, 2, 3, 1) if layout == "nhwc" else sample
        got = runner.real(runner.quantize(np.ascontiguousarray(fed)))
        measured.append(got.transpose(0, 3, 1, 2) if layout == "nhwc" else got)
        references.append(session.run(None, {"x": sample})[0])
    assert sqnr_db(np.stack(references), np.stack(measured)) > 36


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_what_is_no_nchw_image_keeps_the_axes_of_the_model(layout: str) -> None:
    """Of four outputs one is an image, and one an image that the model itself turned to channels last."""
    case = Case(
        name="four",
        inputs={"x": (1, 3, 8, 6)},
        weights={"w": (4, 3, 1, 1)},
        body="a = Conv(x, w) last = Transpose<perm=[0,2,3,1]>(a) flat = Flatten(a) g = GlobalAveragePool(x) v = Flatten(g)",
        outputs=("a", "last", "flat", "v"),
    )
    graph, plan, samples = planned(case)
    artifact = TfliteRuntime().emit(graph, plan, io_dtype="int8", layout=layout)
    assert artifact.layouts == {"x": layout, "a": layout, "last": "as-is", "flat": "as-is", "v": "as-is"}
    runner = Runner(artifact.data)
    raw = runner.quantize(np.ascontiguousarray(samples[0].transpose(0, 2, 3, 1)) if layout == "nhwc" else samples[0])
    references = float_session(graph).run(None, {"x": samples[0]})
    for index, (spec, reference) in enumerate(zip(artifact.outputs, references, strict=True)):
        got = runner.real(raw, index)
        assert spec.shape == got.shape
        in_model_order = got.transpose(0, 3, 1, 2) if artifact.layouts[spec.name] == "nhwc" else got
        assert sqnr_db(reference, in_model_order) > 30


def test_the_three_dtypes_say_the_same() -> None:
    graph, plan, samples = planned(IMAGE)
    answers = {}
    for io_dtype in ("int8", "uint8", "float32"):
        runner = Runner(TfliteRuntime().emit(graph, plan, io_dtype=io_dtype, layout="nchw").data)
        answers[io_dtype] = runner.raw(runner.quantize(samples[0]))
        if io_dtype == "float32":
            continue
        scale, zero_point = runner.outputs[0]["quantization"]
        real = scale * (answers[io_dtype].astype(np.float32) - zero_point)
        answers[io_dtype] = real.astype(np.float32)
    np.testing.assert_array_equal(answers["int8"], answers["uint8"])
    np.testing.assert_allclose(answers["int8"], answers["float32"], rtol=1e-6)


def test_the_same_plan_gives_the_same_bytes() -> None:
    graph, plan, _ = planned(IMAGE)
    files = {TfliteRuntime().emit(graph, plan, io_dtype="int8", layout="nhwc").data for _ in range(2)}
    files.add(TfliteRuntime().emit(graph, msgspec.convert(msgspec.to_builtins(plan), QuantPlan), io_dtype="int8", layout="nhwc").data)
    assert len(files) == 1


def test_the_file_is_what_a_runtime_expects() -> None:
    graph, plan, _ = planned(IMAGE)
    data = TfliteRuntime().emit(graph, plan, io_dtype="int8", layout="nhwc").data
    assert data[4:8] == b"TFL3"
    model = schema.Model.GetRootAs(data)
    assert model.Version() == 3
    assert model.Description() == b"edgekit"
    assert model.Buffers(0).DataIsNone()
    for index in range(1, model.BuffersLength()):
        table = model.Buffers(index)._tab
        assert table.Vector(table.Offset(4)) % 16 == 0, "buffer data must be 16-byte aligned"
    signature = model.SignatureDefs(0)
    assert signature.SignatureKey() == b"serving_default"
    assert [signature.Inputs(0).Name(), signature.Outputs(0).Name()] == [b"x", b"y"]
    names = [model.Subgraphs(0).Tensors(i).Name().decode() for i in range(model.Subgraphs(0).TensorsLength())]
    assert {"x", "w", "b", "y"} == set(names)


def test_every_node_that_cannot_be_is_named_in_one_error() -> None:
    case = Case(
        name="bad",
        inputs={"x": (1, 3, 4, 4)},
        body="a = Cosh(x) b = Add(a, x) y = Sinh(b)",
    )
    graph, plan, _ = planned(case)
    with pytest.raises(BuildError) as caught:
        TfliteRuntime().emit(graph, plan, io_dtype="int8", layout="nhwc")
    assert "2 node(s)" in caught.value.message
    assert "'a' (Cosh)" in caught.value.message
    assert "'y' (Sinh)" in caught.value.message
    assert "'b'" not in caught.value.message


def test_a_plan_of_another_graph_is_refused() -> None:
    graph, plan, _ = planned(IMAGE)
    with pytest.raises(BuildError, match=r"no range for 1 tensor.*'y'"):
        TfliteRuntime().emit(
            graph, msgspec.structs.replace(plan, ranges={"x": plan.ranges["x"], "a": plan.ranges["a"]}), io_dtype="int8", layout="nhwc"
        )
    with pytest.raises(BuildError, match="no scales for its weight 'w'"):
        TfliteRuntime().emit(graph, msgspec.structs.replace(plan, weights={}), io_dtype="int8", layout="nhwc")
    wrong = {"w": WeightScale(1, (0.1,) * 3)}
    with pytest.raises(BuildError, match="scales along axis 1"):
        TfliteRuntime().emit(graph, msgspec.structs.replace(plan, weights=wrong), io_dtype="int8", layout="nhwc")


def test_one_scale_per_tensor_is_enough() -> None:
    graph, plan, samples = planned(IMAGE)
    whole = {"w": WeightScale(None, (float(np.abs(graph.weights["w"]).max()) / 127,))}
    runner = Runner(TfliteRuntime().emit(graph, msgspec.structs.replace(plan, weights=whole), io_dtype="int8", layout="nchw").data)
    (reference,) = float_session(graph).run(None, {"x": samples[0]})
    assert sqnr_db(reference, runner.real(runner.quantize(samples[0]))) > 34


def test_a_dying_channel_keeps_its_bias() -> None:
    """A channel of almost no weight has a scale in which its bias would leave int32."""
    graph, _, samples = planned(IMAGE)
    weights = dict(graph.weights)
    weights["w"] = weights["w"].copy()
    weights["w"][1] *= 1e-12
    weights["b"] = np.array([0.1, 3.0, -0.2, 0.0], np.float32)
    graph = replace(graph, weights=weights)
    runner = Runner(TfliteRuntime().emit(graph, minmax_plan(graph, samples), io_dtype="int8", layout="nchw").data)
    got = runner.real(runner.quantize(samples[0]))
    assert np.abs(got[:, 1] - 3.0).max() <= runner.outputs[0]["quantization"][0]


@pytest.mark.parametrize("body", ["y = Add(x, c)", "y = HardSigmoid(x)", "y = Conv(x, w)"])
def test_ranges_that_would_abort_a_runtime_are_refused(body: str) -> None:
    case = Case(name="r", inputs={"x": (1, 3, 4, 4)}, weights={"c": (3, 1, 1), "w": (3, 3, 1, 1)}, body=body)
    graph, plan, _ = planned(case)
    ranges = {"x": Range(-1e7, 1e7, "minmax"), "y": Range(-1e-2, 1e-2, "minmax")}
    with pytest.raises(BuildError, match="its result") as caught:
        TfliteRuntime().emit(graph, msgspec.structs.replace(plan, ranges=ranges), io_dtype="int8", layout="nhwc")
    assert caught.value.fix


def test_hard_swish_of_a_coarse_input() -> None:
    case = Case(name="h", inputs={"x": (1, 3, 4, 4)}, body="y = HardSwish(x)")
    graph, plan, _ = planned(case)
    ranges = {"x": Range(-200.0, 0.5, "minmax"), "y": Range(-0.375, 0.3, "minmax")}
    artifact = TfliteRuntime().emit(graph, msgspec.structs.replace(plan, ranges=ranges), io_dtype="int8", layout="nhwc")
    assert [use.name for use in operators(artifact.data)] == ["HARD_SWISH", "QUANTIZE"]
    runner = Runner(artifact.data, xnnpack=False)
    scale, zero_point = runner.input["quantization"]
    for q in range(zero_point - 6, 128):
        x = scale * (q - zero_point)
        expected = min(x * max(0.0, min(6.0, x + 3.0)) / 6.0, ranges["y"].hi)
        # The input's step over 128 is the least output step the kernel can make.
        assert runner.real(np.full((1, 4, 4, 3), q, np.int8)) == pytest.approx(expected, abs=scale / 128 + 0.01)


def test_members_of_a_concat_share_the_widest_range() -> None:
    case = Case(name="c", inputs={"x": (1, 2, 4, 4)}, body="r = Relu(x) y = Concat<axis=1>(x, r)")
    graph, plan, _ = planned(case)
    wide = msgspec.structs.replace(plan, ranges={**plan.ranges, "r": Range(0.0, 20.0, "minmax")})
    runner = Runner(TfliteRuntime().emit(graph, wide, io_dtype="int8", layout="nhwc").data)
    scale = runner.input["quantization"][0]
    assert scale == runner.outputs[0]["quantization"][0]
    assert scale == pytest.approx((20.0 - plan.ranges["x"].lo) / 255, rel=1e-5)


def test_softmax_alone_keeps_the_kernels_scale_through_a_reshape() -> None:
    case = Case(name="s", inputs={"x": (1, 8)}, body="p = Softmax(x) s = Constant<value_ints=[2,4]>() y = Reshape(p, s)")
    graph, plan, _ = planned(case)
    artifact = TfliteRuntime().emit(graph, plan, io_dtype="int8", layout="nhwc")
    assert [use.name for use in operators(artifact.data)] == ["SOFTMAX", "RESHAPE"]
    assert Runner(artifact.data).outputs[0]["quantization"] == (1 / 256, -128)


def test_two_outputs_of_which_one_is_read_on() -> None:
    case = Case(name="two", inputs={"x": (1, 3, 4, 4)}, weights={"w": (3, 3, 1, 1)}, body="a = Conv(x, w) y = Relu(a)", outputs=("a", "y"))
    graph, plan, samples = planned(case)
    artifact = TfliteRuntime().emit(graph, plan, io_dtype="int8", layout="nchw")
    assert [use.name for use in operators(artifact.data)] == ["TRANSPOSE", "CONV_2D", "RELU", "TRANSPOSE", "TRANSPOSE"]
    runner = Runner(artifact.data)
    assert [entry["name"] for entry in runner.outputs] == ["a", "y"]
    raw = runner.quantize(samples[0])
    for index, reference in enumerate(float_session(graph).run(None, {"x": samples[0]})):
        assert sqnr_db(reference, runner.real(raw, index)) > 30
