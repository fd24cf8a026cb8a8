"""Where TensorRT's file rounds, and what it holds: rules that its parser and its fusions set."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest

from edgekit.quantize.simulate import session, simulate
from edgekit.runtimes.qdq import TensorRtQdq
from tests.unit.quantize.networks import model, normal
from tests.unit.runtimes.qdq.resnet import resnet18
from tests.unit.runtimes.qdq.written import Written, sqnr_db


def written(body: str, **constants: object) -> Written:
    x = str(constants.pop("x", "float[N,4,8,8] x"))
    kept = constants.pop("kept", ())
    return Written(TensorRtQdq(), model(body, {k: np.asarray(v) for k, v in constants.items()}, x=x), kept=kept)  # type: ignore[arg-type]


BLOCK = """
    a = Conv(x, w1, b1) r = Relu(a)
    c = Conv<pads = [1, 1, 1, 1]>(r, w2, b2) d = Relu(c)
    e = Conv(d, w3, b3) s = Add(e, r) y = Relu(s)
"""


@cache
def block(kept: tuple[str, ...] = ()) -> Written:
    constants = {"w1": normal(4, 4, 1, 1), "w2": normal(4, 4, 3, 3), "w3": normal(4, 4, 1, 1)}
    return written(BLOCK, **constants, b1=normal(4), b2=normal(4), b3=normal(4), kept=kept)


class TestResidualBlock:
    def test_every_convolution_reads_integers_and_int8_weights(self) -> None:
        file = block()
        for conv in file.all("Conv"):
            assert [file.reads(conv, slot) for slot in range(3)] == ["DequantizeLinear", "DequantizeLinear", "constant"]
            weight = file.makers[conv.input[1]]
            assert file.constants[weight.input[0]].dtype == np.int8
            assert file.reads(weight, 0) == "constant", "no QuantizeLinear in front of a weight: it is stored as int8"

    def test_bias_stays_float(self) -> None:
        file = block()
        assert all(file.constants[conv.input[2]].dtype == np.float32 for conv in file.all("Conv"))

    def test_nothing_stands_between_a_convolution_and_its_clamp_or_sum(self) -> None:
        file = block()
        assert sorted(file.readers(conv)[0] for conv in file.all("Conv")) == ["Add", "Relu", "Relu"]

    def test_only_the_skip_of_a_sum_is_rounded(self) -> None:
        file = block()
        add = file.the("Add")
        assert [file.reads(add, 0), file.reads(add, 1)] == ["Conv", "DequantizeLinear"]

    def test_a_tensor_is_rounded_once_for_all_that_read_it(self) -> None:
        file = block()
        assert file.count("QuantizeLinear") == 3  # x, r, d; not y, which no product reads

    @pytest.mark.parametrize("sides", ["Add(b, a)", "Add(a, b)"])
    def test_of_two_convolutions_the_shortcut_is_rounded(self, sides: str) -> None:
        body = f"s = Sigmoid(x) h = Conv(s, w) r = Relu(h) a = Conv(r, w) b = Conv(s, v) y = {sides}"
        file = written(body, w=normal(4, 4, 1, 1), v=normal(4, 4, 1, 1))
        assert {conv.output[0]: file.readers(conv) for conv in file.all("Conv")} == {"h": ["Relu"], "a": ["Add"], "b": ["QuantizeLinear"]}

    def test_a_convolution_that_others_read_too_takes_no_sum(self) -> None:
        file = written("a = Conv(x, w1) b = Sigmoid(a) y = Add(a, b)", w1=normal(4, 4, 1, 1))
        add = file.the("Add")
        assert [file.reads(add, 0), file.reads(add, 1)] == ["Conv", "Sigmoid"]

    def test_a_sum_behind_an_activation_reads_in_integers_what_a_convolution_reads_too(self) -> None:
        body = "s = Sigmoid(x) a = Conv(s, w) b = Sigmoid(a) t = Add(s, b) y = Conv(t, v)"
        file = written(body, w=normal(4, 4, 1, 1), v=normal(4, 4, 1, 1))
        assert [file.reads(file.the("Add"), slot) for slot in (0, 1)] == ["DequantizeLinear", "Sigmoid"]

    def test_a_layer_kept_in_float_has_float_weights_and_exact_inputs(self) -> None:
        graph = block().graph
        middle = [node.name for node in graph.nodes if node.op == "Conv"][1]
        file = block(kept=(middle,))
        conv = file.named(middle)
        assert [file.reads(conv, slot) for slot in range(3)] == ["Relu", "constant", "constant"]


class TestResNet18:
    """NVIDIA's ModelOpt writes 43 pairs for this topology, and onnxruntime 51 to 70 (measured, 2026-11).

    There are 21 weights, 17 tensors that convolutions read, the one that the Gemm reads, and three shortcuts that are
    convolutions themselves, whose results a sum reads: 42.
    """

    def test_pairs_are_not_more_than_modelopts(self) -> None:
        file = Written(TensorRtQdq(), resnet18())
        assert (file.count("Conv"), file.count("Gemm"), file.count("Add")) == (20, 1, 8)
        weights = [node for node in file.all("DequantizeLinear") if file.reads(node, 0) == "constant"]
        assert (file.count("QuantizeLinear"), len(weights)) == (21, 21)
        assert file.count("DequantizeLinear") == 42
        assert file.count("DequantizeLinear") <= 43

    def test_no_clamp_reads_what_was_rounded(self) -> None:
        file = Written(TensorRtQdq(), resnet18())
        assert {file.reads(node, 0) for node in file.all("Relu")} == {"Add", "Conv"}

    def test_each_sum_reads_one_convolution_and_one_rounded_tensor(self) -> None:
        file = Written(TensorRtQdq(), resnet18())
        assert {tuple(sorted(file.reads(add, slot) for slot in (0, 1))) for add in file.all("Add")} == {("Conv", "DequantizeLinear")}


class TestZeroPoints:
    def test_all_are_int8_zeros(self) -> None:
        file = block()
        pairs = file.all("QuantizeLinear") + file.all("DequantizeLinear")
        assert pairs
        for node in pairs:
            zero_point = file.constants[node.input[2]]
            assert zero_point.dtype == np.int8
            assert not zero_point.any()

    def test_uint8_appears_nowhere(self) -> None:
        assert all(tensor.data_type != onnx.TensorProto.UINT8 for tensor in block().proto.graph.initializer)


@pytest.mark.parametrize(
    ("body", "shape", "x", "axis", "scales"),
    [
        ("y = Conv(x, w)", (6, 4, 3, 3), "float[N,4,8,8] x", 0, 6),
        ("y = Conv<group = 4>(x, w)", (4, 1, 3, 3), "float[N,4,8,8] x", 0, 4),
        ("y = ConvTranspose<strides = [2, 2]>(x, w)", (4, 6, 2, 2), "float[N,4,8,8] x", 1, 6),
        ("y = Gemm(x, w)", (8, 5), "float[N,8] x", 1, 5),
        ("y = Gemm<transB = 1>(x, w)", (5, 8), "float[N,8] x", None, 5),
        ("y = MatMul(x, w)", (8, 5), "float[N,8] x", 1, 5),
    ],
    ids=["conv", "depthwise", "conv-transpose", "gemm", "gemm-transposed", "matmul"],
)
def test_weights_have_a_scale_per_output_channel(body: str, shape: tuple[int, ...], x: str, axis: int | None, scales: int) -> None:
    file = written(body, w=normal(*shape), x=x)
    product = next(node for node in file.nodes if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"))
    weight = file.makers[product.input[1]]
    attrs = {a.name: a.i for a in weight.attribute}
    transposed = any(a.name == "transB" and a.i for a in product.attribute)
    assert attrs["axis"] == ((0 if transposed else 1) if axis is None else axis)
    assert file.scale(weight).shape == (scales,)
    assert file.constants[weight.input[0]].shape[attrs["axis"]] == scales


class TestSharedScales:
    def test_concat(self) -> None:
        body = """
            a = Conv(x, w) ra = Relu(a) b = Conv(x, v) rb = Sigmoid(b)
            c = Concat<axis = 1>(ra, rb) d = Conv(ra, w) e = Conv(c, u) f = Concat<axis = 1>(d, e) y = Conv(f, t)
        """
        file = written(body, w=normal(4, 4, 1, 1), v=normal(4, 4, 1, 1), u=normal(4, 8, 1, 1), t=normal(2, 8, 1, 1))
        rounded = {node.input[0]: file.scale(node) for node in file.all("QuantizeLinear")}
        assert rounded["ra"] == rounded["c"], "so that TensorRT stores it once for both readers"

    def test_pooling(self) -> None:
        body = """
            a = Conv(x, w) r = Relu(a) p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)
            b = Conv(r, w) c = Conv(p, w) d = GlobalAveragePool(b) e = GlobalAveragePool(c) y = Add(d, e)
        """
        file = written(body, w=normal(4, 4, 1, 1))
        rounded = {node.input[0]: file.scale(node) for node in file.all("QuantizeLinear")}
        assert rounded["r"] == rounded["p"]
        assert file.reads(file.the("MaxPool"), 0) == "Relu", "a maximum commutes with rounding: the runtime moves it"

    def test_an_average_reads_integers(self) -> None:
        file = written("r = Sigmoid(x) p = AveragePool<kernel_shape = [2, 2]>(r) y = Conv(p, w)", w=normal(4, 4, 1, 1))
        assert file.reads(file.the("AveragePool"), 0) == "DequantizeLinear"


ATTENTION = """
    n = LayerNormalization(x, g, b)
    q = MatMul(n, wq) qb = Add(q, bq) k = MatMul(n, wk) kt = Transpose<perm = [0, 2, 1]>(k)
    s = MatMul(qb, kt) p = Softmax<axis = -1>(s) o = MatMul(p, n) r = Add(o, x) y = MatMul(r, wo)
"""


class TestTransformer:
    def file(self) -> Written:
        names = ("wq", "wk", "wo")
        return written(ATTENTION, x="float[N,6,8] x", g=normal(8), b=normal(8), bq=normal(8), **{name: normal(8, 8) for name in names})

    def test_products_of_two_activations_read_integers(self) -> None:
        file = self.file()
        scores = next(node for node in file.all("MatMul") if "Softmax" in file.readers(node))
        assert [file.reads(scores, slot) for slot in (0, 1)] == ["DequantizeLinear", "DequantizeLinear"]

    def test_what_lies_between_products_stays_exact(self) -> None:
        file = self.file()
        assert file.reads(file.the("Softmax"), 0) == "MatMul"
        assert file.reads(file.the("LayerNormalization"), 0) == "input"
        residual = next(node for node in file.all("Add"))
        assert "DequantizeLinear" not in {file.reads(residual, slot) for slot in (0, 1)}


def test_an_embedding_is_stored_as_int8_rows() -> None:
    file = written("e = Gather(table, x) y = MatMul(e, w)", x="int64[N,3] x", table=normal(50, 8), w=normal(8, 4))
    rows = file.makers[file.the("Gather").input[0]]
    assert rows.op_type == "DequantizeLinear"
    assert file.constants[rows.input[0]].dtype == np.int8
    assert file.scale(rows).shape == (50,)


def test_it_answers_as_the_plan_is_simulated() -> None:
    """Where no layers share a scale, both round the same values at the same places."""
    file = block()
    simulated = session(simulate(file.graph, file.plan))
    wanted = [simulated.run(None, dict(feed))[0] for feed in file.feeds]
    assert sqnr_db(wanted, file.run()) > 50
    assert sqnr_db(file.float_run(), file.run()) > 25


def test_the_file_is_about_a_quarter() -> None:
    file = written("a = Conv(x, w) y = Conv(a, v)", w=normal(64, 4, 3, 3), v=normal(64, 64, 3, 3))
    assert len(file.data) < 0.29 * len(file.graph.to_onnx().SerializeToString())


def test_the_operator_set_is_one_that_tensorrt_8_5_reads() -> None:
    assert block().proto.opset_import[0].version == 17
