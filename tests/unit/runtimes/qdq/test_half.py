"""Files in float16: what is cast where, what stays, and that they answer as the float model does."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.engine import EnginePrecision
from edgekit.errors import BuildError
from edgekit.graph import Array, Graph, Node
from edgekit.model import TensorSpec
from edgekit.quantize.normalise import normalise
from edgekit.runtimes.qdq import TensorRtQdq
from edgekit.sources.onnx import OnnxSource
from tests.unit.quantize.networks import integers, model, needs_onnxruntime, normal, scalars
from tests.unit.runtimes.qdq.test_fused import ATTENTION, BLOCK
from tests.unit.runtimes.qdq.test_networks import NETWORKS
from tests.unit.runtimes.qdq.written import Feed, File, Files, feeds_for, plan_of, sqnr_db
from tests.unit.runtimes.tflite import networks
from tests.unit.runtimes.tflite.test_networks import drawn

X, ROWS = "float[N,4,8,8] x", "float[N,6,8] x"
FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def half_of(body: str, constants: Mapping[str, Array] | None = None, *, x: str = X, kept: Collection[str] | None = None) -> File:
    return Files(model(body, constants, x=x), kept).by_name["half.onnx"]


def type_of(file: File, name: str) -> int:
    """Return the type of a tensor of the file."""
    inferred = onnx.shape_inference.infer_shapes(file.proto, strict_mode=True).graph
    values = {value.name: value.type.tensor_type.elem_type for value in (*inferred.input, *inferred.value_info, *inferred.output)}
    return int({**values, **{tensor.name: tensor.data_type for tensor in inferred.initializer}}[name])


@cache
def block() -> Files:
    constants = {"w1": normal(4, 4, 1, 1), "w2": normal(4, 4, 3, 3), "w3": normal(4, 4, 1, 1), **{f"b{n}": normal(4) for n in (1, 2, 3)}}
    return Files(model(BLOCK, constants))


class TestWhole:
    @pytest.mark.parametrize("name", ["model.onnx", "mixed.onnx", "float.onnx", "half.onnx"])
    def test_inputs_and_outputs_are_the_models(self, name: str) -> None:
        body, graph = block().by_name[name].proto.graph, block().graph
        assert [(v.name, v.type.tensor_type.elem_type) for v in (*body.input, *body.output)] == [("x", FLOAT), ("y", FLOAT)]
        assert [d.dim_value for d in body.input[0].type.tensor_type.shape.dim] == list(graph.inputs[0].shape) == [1, 4, 8, 8]

    @pytest.mark.parametrize(("name", "opset"), [("model.onnx", 17), ("mixed.onnx", 20), ("float.onnx", 17), ("half.onnx", 20)])
    def test_operator_sets(self, name: str, opset: int) -> None:
        assert block().by_name[name].proto.opset_import[0].version == opset

    def test_everything_between_is_float16(self) -> None:
        file = block().by_name["half.onnx"]
        assert [(cast.input[0], cast.output[0]) for cast in file.all("Cast")] == [("x", "x/float16"), ("y/float16", "y")]
        assert {tensor.data_type for tensor in file.proto.graph.initializer} == {FLOAT16}

    def test_mixed_rounds_where_the_int8_file_does(self) -> None:
        mixed, plain = block().by_name["mixed.onnx"], block().by_name["model.onnx"]
        for op in ("QuantizeLinear", "DequantizeLinear"):
            assert sorted(node.output[0] for node in mixed.all(op)) == sorted(node.output[0] for node in plain.all(op))
        assert {tensor.data_type for tensor in mixed.proto.graph.initializer} == {FLOAT, FLOAT16, onnx.TensorProto.INT8}

    def test_mixed_has_no_cast_in_front_of_what_is_rounded(self) -> None:
        file = block().by_name["mixed.onnx"]
        assert [file.reads(node, 0) for node in file.all("QuantizeLinear")].count("input") == 1
        assert [cast.output[0] for cast in file.all("Cast")] == ["y"]

    def test_a_small_weight_is_counted_in_the_scale_that_float16_can_say(self) -> None:
        weight = normal(4, 4, 1, 1) * np.array([1.0, 1e-3, 1e-5, 1e-7], np.float32).reshape(4, 1, 1, 1)
        file = Files(model("y = Conv(x, w)", {"w": weight})).by_name["mixed.onnx"]
        dequantize = file.makers[file.the("Conv").input[1]]
        q, scale = file.constants[dequantize.input[0]].astype(np.float64), file.scale(dequantize)
        assert scale.dtype == np.float16
        steps = scale.astype(np.float64).reshape(4, 1, 1, 1)
        assert (np.abs(q * steps - weight) <= steps * 0.501).all()

    def test_a_gelu_is_one_operator(self) -> None:
        body = "d = Div(x, root) e = Erf(d) s = Add(e, one) m = Mul(x, s) g = Mul(m, half) y = MatMul(g, w)"
        file = half_of(body, {"w": normal(8, 4), **scalars(root=2**0.5, one=1.0, half=0.5)}, x=ROWS)
        assert file.count("Gelu") == 1

    @pytest.mark.parametrize("name", NETWORKS)
    def test_networks_answer_as_the_float_model(self, name: str) -> None:
        proto = getattr(networks, name)()
        files = Files(proto, feeds=drawn(normalise(proto)))
        assert files.against_float("half.onnx") > 60
        assert files.against_float("twin") > files.against_float("model.onnx") - 3

    def test_the_hosts_twin_differs_in_what_a_rounding_reads_alone(self) -> None:
        twin, file = block().by_name["twin"], block().by_name["mixed.onnx"]
        assert {type_of(twin, node.input[0]) for node in twin.all("QuantizeLinear")} == {FLOAT}
        assert {type_of(file, node.input[0]) for node in file.all("QuantizeLinear")} == {FLOAT, FLOAT16}
        assert [node.op_type for node in twin.nodes if node.op_type != "Cast"] == [
            node.op_type for node in file.nodes if node.op_type != "Cast"
        ]

    def test_it_answers_as_the_file_where_onnxruntime_rounds(self) -> None:
        needs_onnxruntime((1, 30), "cuts the fraction off where QuantizeLinear reads float16")
        files = block()
        assert sqnr_db(files.by_name["twin"].answers(files.feeds), files.by_name["mixed.onnx"].answers(files.feeds)) > 30


def test_a_model_with_its_weights_beside_it_gives_the_same_files(tmp_path: Path) -> None:
    constants = {"w1": normal(4, 4, 1, 1), "w2": normal(4, 4, 3, 3), "w3": normal(4, 4, 1, 1), **{f"b{n}": normal(4) for n in (1, 2, 3)}}
    proto = model(BLOCK, constants)
    proto.graph.output[0].type.tensor_type.shape.dim.add().dim_param = "N"
    for size in (4, 8, 8):
        proto.graph.output[0].type.tensor_type.shape.dim.add().dim_value = size
    beside = {name: file.data for name, file in Files(proto).by_name.items()}
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert "weights.bin" in {path.name for path in tmp_path.iterdir()}
    source = OnnxSource()
    read = Files(source.load(source.read(tmp_path / "m.onnx")))
    assert {name: file.data for name, file in read.by_name.items()} == beside


KEPT = "a = Conv(x, w) r = Relu(a) b = Sigmoid(r) c = Exp(b) d = Transpose<perm = [0, 2, 3, 1]>(c) e = Sqrt(d) y = Neg(e)"


class TestBorders:
    def test_a_node_that_is_kept_is_cast_to_and_from(self) -> None:
        file = half_of(KEPT, {"w": normal(4, 4, 1, 1)}, kept=("c",))
        assert [type_of(file, name) for name in ("b", "c")] == [FLOAT16, FLOAT]
        assert [cast.output[0] for cast in file.all("Cast")] == ["x/float16", "b/float32", "c/float16", "y"]

    def test_what_only_moves_stays_float32_between_kept_nodes(self) -> None:
        file = half_of(KEPT, {"w": normal(4, 4, 1, 1)}, kept=("c", "e"))
        assert [file.reads(file.the(op), 0) for op in ("Transpose", "Sqrt", "Neg")] == ["Exp", "Transpose", "Cast"]

    def test_a_tensor_is_cast_once_for_all_who_read_it(self) -> None:
        file = half_of("s = Sigmoid(x) a = Exp(s) b = Sqrt(s) c = Add(a, b) d = Tanh(s) y = Add(c, d)", kept=("a", "b", "c"))
        assert [cast.output[0] for cast in file.all("Cast")] == ["x/float16", "s/float32", "c/float16", "y"]

    def test_whole_numbers_become_real_in_the_type_that_is_read(self) -> None:
        file = half_of("f = Cast<to = 1>(x) e = Exp(f) s = Sqrt(f) y = Add(e, s)", x="int64[N,4] x", kept=("e",))
        assert sorted((cast.input[0], cast.output[0]) for cast in file.all("Cast")) == [
            ("e", "e/float16"), ("x", "f"), ("x", "f/float32"), ("y/float16", "y"),
        ]  # fmt: skip

    def test_an_integer_result_is_read_from_what_there_is(self) -> None:
        file = half_of("e = Exp(x) i = ArgMax<axis = 1>(e) y = Cast<to = 1>(i)", kept=("e",))
        assert [cast.output[0] for cast in file.all("Cast")] == ["y"]

    def test_integers_of_one_tensor_give_both_types(self) -> None:
        body, constants = "s = Sigmoid(x) a = Conv(s, w) b = ConvTranspose(s, v) y = Add(a, b)", {"w": normal(4, 4, 1, 1)}
        files = Files(model(body, {**constants, "v": normal(4, 4, 1, 1)}), kept=("b",))
        file = files.by_name["mixed.onnx"]
        assert len([node for node in file.all("DequantizeLinear") if file.reads(node, 0) == "QuantizeLinear"]) >= 2
        assert file.count("QuantizeLinear") == files.by_name["model.onnx"].count("QuantizeLinear")

    def test_products_of_one_tensor_share_a_type(self) -> None:
        """TensorRT computes them as one."""
        body = "n = Sigmoid(x) a = MatMul(n, w) b = MatMul(n, v) c = Exp(b) y = Add(a, c)"
        files = Files(model(body, {"w": normal(8, 8), "v": normal(8, 8)}, x=ROWS))
        gemms = [node.name for node in files.graph.nodes if node.op == "Gemm"]
        assert len(gemms) == 2
        file = Files(model(body, {"w": normal(8, 8), "v": normal(8, 8)}, x=ROWS), kept=gemms[:1]).by_name["mixed.onnx"]
        assert {type_of(file, node.output[0]) for node in file.all("Gemm")} == {FLOAT}


class TestConstants:
    def test_a_resize_keeps_the_scales_the_standard_wants(self) -> None:
        body = 'y = Resize<mode = "linear", coordinate_transformation_mode = "half_pixel">(x, , s)'
        file = half_of(body, {"s": np.array([1, 1, 2, 2], np.float32)})
        assert file.constants[file.the("Resize").input[2]].dtype == np.float32

    def test_axes_are_an_input_from_set_18_on(self) -> None:
        file = half_of("m = ReduceMax<axes = [2], keepdims = 0>(x) y = Sqrt(m)")
        reduce = file.the("ReduceMax")
        assert not [attribute for attribute in reduce.attribute if attribute.name == "axes"]
        assert file.constants[reduce.input[1]].tolist() == [2]

    def test_grids_are_sampled_by_the_names_of_set_20(self) -> None:
        grid = (np.random.default_rng(2).random((1, 4, 4, 2)) * 2 - 1).astype(np.float32)
        files = Files(model('y = GridSample<mode = "bilinear", align_corners = 1>(x, grid)', {"grid": grid}))
        assert files.against_float("half.onnx") > 55

    def test_a_bound_beyond_float16_is_its_largest_number(self) -> None:
        file = half_of("a = Max(x, low) y = Tanh(a)", scalars(low=-3.4e38))
        assert file.constants[file.the("Max").input[1]] == np.float16(-65504)

    def test_integers_are_left_alone(self) -> None:
        file = half_of("g = Gather<axis = 1>(x, rows) y = Sigmoid(g)", integers(rows=[2, 0]))
        assert file.constants[file.the("Gather").input[1]].dtype == np.int64


# What float16 cannot hold: the text of a network, its constants, and the nodes that stay float32.
BEYOND: dict[str, tuple[str, str, Mapping[str, Array], set[str]]] = {
    "a gain and its opposite": ("a = Mul(x, g) t = Tanh(a) b = Sigmoid(x) y = Add(t, b)", X, scalars(g=1e5), {"a", "t"}),
    "an epsilon": ("m = Mul(x, x) a = Add(m, e) s = Sqrt(a) y = Div(x, s)", X, scalars(e=1e-7), {"a"}),
    "squares": ("c = Mul(x, k) m = Mul(c, c) r = Sqrt(m) y = Div(c, r)", X, scalars(k=300.0), {"m", "r"}),
    "a long mean": ("a = Mul(x, g) p = GlobalAveragePool(a) y = Tanh(p)", "float[N,4,64,64] x", scalars(g=300.0), {"p"}),
    "a mask as one factor": ("m = Cast<to = 1>(x) n = Mul(m, g) y = Tanh(n)", "int64[N,6] x", scalars(g=-3e37), {"n", "y"}),
}


@pytest.mark.parametrize("name", BEYOND)
def test_what_overflows_stays_float32(name: str) -> None:
    body, x, constants, wanted = BEYOND[name]
    files = Files(model(body, constants, x=x))
    assert set(files.overflow) >= wanted
    assert files.against_float("half.onnx") > 45
    assert {type_of(files.by_name["half.onnx"], node) for node in wanted} == {FLOAT}


def test_whole_numbers_stay_exact_until_something_is_computed_of_them() -> None:
    """4001 and 4003 are no float16 numbers; that their difference to 4000 is right shows they were never one."""
    body = "f = Cast<to = 1>(x) r = Transpose<perm = [1, 0]>(f) g = Sub(r, k) y = Tanh(g)"
    feeds = [{"x": np.array([[4001, 3999, 4000, 4003]], np.int64)}]
    files = Files(model(body, scalars(k=4000.0), x="int64[N,4] x"), feeds=feeds)
    assert set(files.overflow) == {"f", "r", "g"}
    assert files.against_float("half.onnx") > 60


def test_attention_behind_a_mask_answers_as_the_float_model() -> None:
    body = ATTENTION.replace("p = Softmax<axis = -1>(s)", "sm = Add(s, mask) p = Softmax<axis = -1>(sm)")
    mask = np.where(np.arange(6) < 4, 0, -3.4e38).astype(np.float32)
    constants = {**{name: normal(8, 8) for name in ("wq", "wk", "wo")}, **{name: normal(8) for name in ("g", "b", "bq")}}
    files = Files(model(body, {**constants, "mask": mask}, x=ROWS))
    assert not files.overflow, "the mask is -1000 by then"
    assert files.against_float("half.onnx") > 60


class Trial:
    """A graph whose nodes may be kept in any choice."""

    def __init__(self, body: str, x: str, constants: Mapping[str, Array]) -> None:
        runtime = TensorRtQdq()
        self.graph: Graph = normalise(model(body, constants, x=x))
        self.feeds: list[Feed] = list(feeds_for(self.graph, 2))
        self.plan = plan_of(runtime, self.graph, self.feeds)
        self.names = [node.name for node in self.graph.nodes]
        files = {**runtime.engine_files(self.graph, self.plan, "fp16", ()), **runtime.engine_files(self.graph, self.plan, "int8", ())}
        self.wanted = {name: File(files[name]).answers(self.feeds) for name in ("float.onnx", "model.onnx")}


@cache
def trials() -> list[Trial]:
    rows = {**{name: normal(8, 8) for name in ("wq", "wk", "wo")}, **{name: normal(8) for name in ("g", "b", "bq")}}
    convolutions = {"w1": normal(4, 4, 1, 1), "w2": normal(4, 4, 3, 3), "w3": normal(4, 4, 1, 1), **{f"b{n}": normal(4) for n in (1, 2, 3)}}
    return [Trial(BLOCK, X, convolutions), Trial(ATTENTION, ROWS, rows)]


@settings(max_examples=40)
@given(data=st.data())
def test_any_choice_of_kept_nodes_is_well_typed_and_right(data: st.DataObject) -> None:
    trial = data.draw(st.sampled_from(trials()))
    kept = data.draw(st.sets(st.sampled_from(trial.names)))
    runtime = TensorRtQdq()
    cases: list[tuple[EnginePrecision, str, str, float]] = [
        ("fp16", "half.onnx", "float.onnx", 50),
        ("mixed", "mixed.onnx", "model.onnx", 25),
    ]
    for precision, name, reference, least in cases:
        file = File(runtime.engine_files(trial.graph, trial.plan, precision, kept)[name])
        twin = File(runtime.twin(trial.graph, trial.plan, precision, kept))
        assert sqnr_db(trial.wanted[reference], twin.answers(trial.feeds)) > least
        casts = file.all("Cast")
        assert all(file.reads(cast, 0) != "Cast" for cast in casts)
        assert len({(cast.input[0], cast.attribute[0].i) for cast in casts}) == len(casts)


def test_a_file_beyond_what_onnx_holds_is_refused_before_it_is_written() -> None:
    small = normalise(model("y = Relu(x)"))
    # Four thousand million bytes that take no memory.
    weights = {"w": np.broadcast_to(np.float32(1), (1 << 15, 1 << 15))}
    shapes = {"x": (1, 1 << 15), "w": (1 << 15, 1 << 15), "y": (1, 1 << 15)}
    x, y = (TensorSpec(name, "float32", shapes[name]) for name in ("x", "y"))
    graph = Graph(17, (x,), (y,), (Node("y", "MatMul", ("x", "w"), ("y",)),), weights, shapes, dict.fromkeys(shapes, "float32"))
    with pytest.raises(BuildError, match=r"take 4\.3 GB in the file"):
        TensorRtQdq().engine_files(graph, plan_of(TensorRtQdq(), small, feeds_for(small)), "fp16", ())
