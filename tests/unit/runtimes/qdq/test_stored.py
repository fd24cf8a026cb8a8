"""What onnxruntime makes of its file: integer kernels, the same answers at every level of optimisation, float where asked."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from edgekit.quantize.simulate import session, simulate
from edgekit.runtimes.qdq import OnnxRuntime
from tests.unit.quantize.networks import model, needs_onnxruntime, normal
from tests.unit.runtimes.qdq.written import LEVELS, Written, sqnr_db


def written(body: str, *, x: str = "float[N,4,8,8] x", kept: tuple[str, ...] = (), scale: float = 1.0, **constants: object) -> Written:
    proto = model(body, {name: np.asarray(values) for name, values in constants.items()}, x=x)
    return Written(OnnxRuntime(), proto, kept=kept, scale=scale)


W, V = normal(4, 4, 1, 1), normal(4, 4, 1, 1)
HEAD = "h = Conv(x, w) "
# Between two convolutions: the operator's text from ``h`` to ``t``, and the kernel that onnxruntime must make of it.
BETWEEN = {
    "add": ("u = Conv(h, v) t = Add(u, h)", "QLinearAdd"),
    "add, clamped": ("u = Conv(h, v) a = Add(u, h) t = Relu(a)", "QLinearAdd"),
    "average pool": ("t = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(h)", "QLinearAveragePool"),
    "average pool, padded": ("t = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(h)", "QLinearAveragePool"),
    "average pool, padding counts": (
        "t = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1>(h)",
        "QLinearAveragePool",
    ),
    "clip": ("t = Clip(h, low, high)", "QLinearConv"),
    "concat": ("u = Conv(h, v) c = Concat<axis = 1>(u, h) t, r = Split<axis = 1>(c, halves)", "Concat"),
    "depth to space": ("d = DepthToSpace<blocksize = 2>(h) t = Tile(d, four)", "Transpose"),
    "depth to space, columns first": ('d = DepthToSpace<blocksize = 2, mode = "CRD">(h) t = Tile(d, four)', "Transpose"),
    "expand": ("g = GlobalAveragePool(h) t = Expand(g, wide)", "Expand"),
    "gather": ("t = Gather<axis = 2>(h, rows)", "Gather"),
    "global average pool": ("t = GlobalAveragePool(h)", "QLinearGlobalAveragePool"),
    "global max pool": ("t = GlobalMaxPool(h)", "ReduceMax"),
    "hard sigmoid": ("t = HardSigmoid<alpha = 0.3, beta = 0.4>(h)", "QLinearAdd"),
    "hard swish": ("t = HardSwish(h)", "QLinearMul"),
    "gain and shift per channel": ("g = Mul(h, gains) b = Add(g, shifts) r = Relu(b) u = Conv(r, v) t = Add(u, h)", "QLinearConv"),
    "leaky relu": ("t = LeakyRelu<alpha = 0.1>(h)", "QLinearLeakyRelu"),
    "max pool": ("t = MaxPool<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>(h)", "MaxPool"),
    "mean over the image": ("t = ReduceMean<axes = [2, 3]>(h)", "QLinearGlobalAveragePool"),
    "mul": ("u = Conv(h, v) t = Mul(u, h)", "QLinearMul"),
    "mul by a gate per channel": ("g = GlobalAveragePool(h) u = Conv(g, v) s = Sigmoid(u) t = Mul(h, s)", "QLinearMul"),
    "pad": ("p = Pad(h, around) t = MaxPool<kernel_shape = [2, 2]>(p)", "Pad"),
    "pad with a value": ("t = Pad(h, around, half)", "Pad"),
    "pad by reflection": ('t = Pad<mode = "reflect">(h, around)', "Pad"),
    "relu": ("t = Relu(h)", "QLinearConv"),
    "relu that shares its input": ("r = Relu(h) u = Conv(h, v) t = Add(r, u)", "Clip"),
    "relu6": ("t = Clip(h, zero, six)", "QLinearConv"),
    "resize": ('t = Resize<mode = "nearest">(h, , double)', "Resize"),
    "sigmoid": ("t = Sigmoid(h)", "QLinearSigmoid"),
    "slice": ("t = Slice(h, one, end, rows_axis)", "Slice"),
    "swish": ("s = Sigmoid(h) t = Mul(h, s)", "QLinearMul"),
    "space to depth": ("d = SpaceToDepth<blocksize = 2>(h) t = Slice(d, one, five, channels)", "Transpose"),
    "tile": ("t = Tile(h, twice)", "Tile"),
    "shift per channel": ("b = Add(h, shifts) r = Relu(b) u = Conv(r, v) t = Add(u, h)", "QLinearConv"),
    "transposed conv": ("t = ConvTranspose<strides = [2, 2]>(h, spread, shift)", "QLinearConv"),
    "transpose": ("t = Transpose<perm = [0, 1, 3, 2]>(h)", "Transpose"),
}
CONSTANTS = {
    "w": W,
    "v": V,
    "gains": normal(4, 1, 1) * np.array([1, 10, 0.1, 1], np.float32).reshape(4, 1, 1),
    "shifts": normal(4, 1, 1),
    "spread": normal(4, 4, 2, 2),
    "shift": normal(4),
    "low": np.float32(-0.5),
    "high": np.float32(0.5),
    "zero": np.float32(0),
    "six": np.float32(6),
    "half": np.float32(0.5),
    "halves": np.array([4, 4]),
    "wide": np.array([1, 4, 8, 8]),
    "rows": np.array([0, 3, 5]),
    "around": np.array([0, 0, 1, 1, 0, 0, 2, 1]),
    "double": np.array([1, 1, 2, 2], np.float32),
    "one": np.array([1]),
    "end": np.array([7]),
    "rows_axis": np.array([2]),
    "twice": np.array([1, 1, 2, 1]),
    "four": np.array([1, 4, 1, 1]),
    "five": np.array([5]),
    "channels": np.array([1]),
}
FLOAT_KERNELS = {"Conv", "FusedConv", "Gemm", "MatMul", "Add", "Mul", "AveragePool", "GlobalAveragePool", "Sigmoid", "HardSigmoid", "Relu"}


@cache
def between(name: str) -> Written:
    if name == "pad":
        needs_onnxruntime((1, 24), "fuses such a Pad into the pool, and then refuses that")
    return written(f"{HEAD} {BETWEEN[name][0]} y = Conv(t, v)", **CONSTANTS)


@pytest.mark.parametrize("name", BETWEEN)
def test_operator_becomes_an_integer_kernel(name: str, tmp_path: Path) -> None:
    kernels = between(name).kernels(tmp_path)
    assert kernels[BETWEEN[name][1]], kernels
    assert not FLOAT_KERNELS & set(kernels), kernels
    # At the border, and nowhere else.
    assert (kernels["QuantizeLinear"], kernels["DequantizeLinear"]) == (1, 1), kernels


@pytest.mark.parametrize("name", BETWEEN)
def test_operator_keeps_its_meaning(name: str) -> None:
    file = between(name)
    assert sqnr_db(file.float_run(), file.run("ORT_ENABLE_ALL")) > 24


@pytest.mark.parametrize("name", BETWEEN)
def test_levels_of_optimisation_agree(name: str) -> None:
    """A kernel may round a half the other way, here and there."""
    file = between(name)
    plain = file.run("ORT_DISABLE_ALL")
    for level in LEVELS[1:]:
        assert sqnr_db(plain, file.run(level)) > 34, level


PRODUCTS = {
    "conv": ("y = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, m, b)", "float[N,4,8,8] x", (6, 4, 3, 3), 6, "QLinearConv"),
    "conv in groups": ("y = Conv<group = 2>(x, m, b)", "float[N,4,8,8] x", (6, 2, 3, 3), 6, "QLinearConv"),
    "depthwise": ("y = Conv<group = 4>(x, m, b)", "float[N,4,8,8] x", (4, 1, 3, 3), 4, "QLinearConv"),
    "conv over a line": ("y = Conv(x, m, b)", "float[N,4,16] x", (6, 4, 3), 6, "QLinearConv"),
    "gemm": ("y = Gemm(x, m, b)", "float[N,16] x", (16, 6), 6, "QGemm"),
    "gemm, transposed": ("y = Gemm<transB = 1>(x, m, b)", "float[N,16] x", (6, 16), 6, "QGemm"),
    "matmul": ("p = MatMul(x, m) y = Add(p, b)", "float[N,5,16] x", (16, 6), 6, "QGemm"),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_product_becomes_an_integer_kernel(name: str, tmp_path: Path) -> None:
    body, x, shape, outputs, kernel = PRODUCTS[name]
    file = written(body, x=x, m=normal(*shape), b=normal(outputs))
    assert file.kernels(tmp_path)[kernel] == 1
    assert sqnr_db(file.float_run(), file.run("ORT_ENABLE_ALL")) > 30


@cache
def attention() -> Written:
    body = """
        q = MatMul(x, wq) k = MatMul(x, wk) t = Transpose<perm = [0, 2, 1]>(k)
        s = MatMul(q, t) p = Softmax<axis = -1>(s) o = MatMul(p, x) y = MatMul(o, wo)
    """
    return written(body, x="float[N,6,8] x", wq=normal(8, 8), wk=normal(8, 8), wo=normal(8, 8))


class TestAttention:
    def test_all_products_are_integer_kernels(self, tmp_path: Path) -> None:
        kernels = attention().kernels(tmp_path)
        assert (kernels["QGemm"], kernels["QLinearMatMul"], kernels["MatMulIntegerToFloat"]) == (3, 1, 1), kernels

    def test_what_is_read_in_float_is_not_rounded(self) -> None:
        file = attention()
        assert file.reads(file.the("Softmax"), 0) == "MatMul"

    def test_levels_agree(self) -> None:
        file = attention()
        assert all(sqnr_db(file.run(), file.run(level)) > 34 for level in LEVELS[1:])


class TestClamps:
    def test_saturation_is_the_clamp(self) -> None:
        assert between("relu6").count("Clip") == 0
        assert between("relu").count("Relu") == 0

    def test_a_clamp_that_saturation_does_not_do_is_written_on_integers(self) -> None:
        """A concatenation lends its members one range, wider than the clamp."""
        file = written(
            "a = Conv(x, w) r = Clip(a, zero, half) b = Conv(x, v) c = Concat<axis = 1>(r, b) y = Conv(c, u)",
            u=normal(2, 8, 1, 1),
            **CONSTANTS,
        )
        clip = file.the("Clip")
        assert [file.constants[name].dtype for name in clip.input[1:]] == [np.uint8, np.uint8]
        assert sqnr_db(file.float_run(), file.run("ORT_ENABLE_ALL")) > 30


class TestBorders:
    def test_a_matrix_product_at_the_end_is_not_rounded(self) -> None:
        file = written("y = Gemm(x, m)", x="float[N,16] x", m=normal(16, 6))
        assert (file.count("QuantizeLinear"), file.nodes[-1].op_type) == (1, "Gemm")

    def test_light_operators_at_the_end_stay_float(self) -> None:
        file = written("a = Conv(x, w) g = GlobalAveragePool(a) y = Sigmoid(g)", w=W)
        assert file.reads(file.the("Sigmoid"), 0) == "GlobalAveragePool"
        assert file.reads(file.the("GlobalAveragePool"), 0) == "DequantizeLinear"

    def test_outputs_of_different_units_keep_their_own_scales(self) -> None:
        file = written("a = Conv(x, w) b = Conv(x, v) s = Sigmoid(b) y = Concat<axis = 1>(a, s)", w=50 * W, v=V)
        wanted, got = np.concatenate(file.float_run()), np.concatenate(file.run("ORT_ENABLE_ALL"))
        assert sqnr_db([wanted[:, 4:]], [got[:, 4:]]) > 30, "scores beside boxes fifty times as large"

    def test_parts_of_an_output_keep_their_own_scales(self) -> None:
        """Two convolutions alone: the plan has the concatenation in int8, and nobody reads it so."""
        file = written("a = Conv(x, w) b = Conv(x, v) y = Concat<axis = 1>(a, b)", w=200 * W, v=V)
        assert {file.reads(file.the("Concat"), slot) for slot in (0, 1)} == {"DequantizeLinear"}
        wanted, got = np.concatenate(file.float_run()), np.concatenate(file.run("ORT_ENABLE_ALL"))
        assert sqnr_db([wanted[:, 4:]], [got[:, 4:]]) > 30

    def test_what_is_float_stays_exact_for_those_who_read_it_so(self) -> None:
        file = written("n = Tanh(x) f = Transpose<perm = [0, 1, 3, 2]>(n) a = Conv(f, w) s = Exp(f) y = Concat<axis = 1>(a, s)", w=W)
        assert file.reads(file.the("Exp"), 0) == "Transpose"
        assert file.reads(file.the("Transpose"), 0) == "Tanh"

    def test_inputs_and_outputs_are_those_of_the_float_model(self) -> None:
        file = between("relu")
        made = OnnxRuntime().emit(file.graph, file.plan, io_dtype="float32", layout="as-is")
        assert (made.inputs, made.outputs) == (file.graph.inputs, file.graph.outputs)
        assert made.layouts == {"x": "as-is", "y": "as-is"}


KEPT = {
    "conv": "a = Conv(x, w) b = Conv(a, m) t = Relu(b) y = Conv(t, v)",
    "conv of one channel": "a = Conv(x, n) b = Conv(a, k) y = Conv(b, k)",
    "transposed conv": "a = Conv(x, w) b = ConvTranspose<strides = [2, 2], kernel_shape = [1, 1]>(a, m) y = Conv(b, v)",
    "gemm": "a = Conv(x, w) g = GlobalAveragePool(a) f = Flatten(g) b = Gemm(f, d) y = Gemm(b, d)",
}


@cache
def with_the_second_in_float(name: str) -> Written:
    # Weights that one scale for the tensor would ruin.
    uneven = normal(4, 4, 1, 1) * np.array([100, 1, 1, 0.01], np.float32).reshape(1, 4, 1, 1)
    constants = {**CONSTANTS, "m": uneven, "n": normal(1, 4, 1, 1), "k": normal(1, 1, 3, 3), "d": uneven[:, :, 0, 0]}
    graph = written(KEPT[name], **constants).graph
    kept = [node.name for node in graph.nodes if node.op in ("Conv", "ConvTranspose", "Gemm")][1]
    return written(KEPT[name], **constants, kept=(kept,))


@pytest.mark.parametrize("name", KEPT)
class TestKeptInFloat:
    """onnxruntime quantizes float weights between integers by itself; a layer that is kept must be spared."""

    def test_its_weights_stay_float_at_every_level(self, name: str) -> None:
        file = with_the_second_in_float(name)
        plain = file.run("ORT_DISABLE_ALL")
        for level in LEVELS[1:]:
            assert sqnr_db(plain, file.run(level)) > 34, level

    def test_the_others_are_integers(self, name: str, tmp_path: Path) -> None:
        kernels = with_the_second_in_float(name).kernels(tmp_path)
        assert kernels["QLinearConv"] + kernels["QGemm"] == 2, kernels


def test_an_embedding_is_gathered_before_it_is_made_real() -> None:
    file = written("e = Gather(table, x) y = MatMul(e, m)", x="int64[N,3] x", table=normal(50, 8), m=normal(8, 4))
    table = file.constants[next(node for node in file.all("Gather") if file.constants[node.input[0]].ndim == 2).input[0]]
    assert table.dtype == np.int8
    assert table.shape == (50, 8)
    assert sqnr_db(file.float_run(), file.run("ORT_ENABLE_ALL")) > 30


def test_a_bias_too_large_for_its_channel_widens_the_scale() -> None:
    weight = normal(4, 4, 1, 1)
    weight[2] = 1e-9
    file = written("y = Conv(x, m, b)", m=weight, b=np.array([0, 1, 50, 2], np.float32))
    assert sqnr_db(file.float_run(), file.run("ORT_ENABLE_ALL")) > 30


def test_it_answers_as_the_plan_is_simulated() -> None:
    file = between("add")
    simulated = session(simulate(file.graph, file.plan))
    assert sqnr_db([simulated.run(None, dict(feed))[0] for feed in file.feeds], file.run()) > 40


def test_the_same_graph_gives_the_same_bytes() -> None:
    file = between("swish")
    assert OnnxRuntime().emit(file.graph, file.plan, io_dtype="float32", layout="as-is").data == file.data
