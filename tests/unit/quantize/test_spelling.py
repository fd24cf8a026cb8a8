"""One spelling for what has several: powers, sums, norms, windows, moves, linear layers, Einsum."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgekit.graph import Array
from edgekit.pattern import reduced_axes
from tests.unit.quantize.networks import checked, integers, model, needs_onnxruntime, normal, ops, positive, scalars

MATRIX = "float[N,8,16] x"
IMAGE = "float[N,4,8,8] x"


@pytest.mark.parametrize(
    ("body", "exponent", "wanted"),
    [
        ("y = Pow(x, e)", 2.0, ["Mul"]),
        ("y = Pow(x, e)", 3.0, ["Mul", "Mul"]),
        ("y = Pow(x, e)", -1.0, ["Div"]),
        ("a = Abs(x) y = Pow(a, e)", 0.5, ["Abs", "Sqrt"]),
        ("a = Abs(x) y = Pow(a, e)", 1.7, ["Abs", "Pow"]),
    ],
)
def test_powers(body: str, exponent: float, wanted: list[str]) -> None:
    assert ops(checked(model(body, scalars(e=exponent), x=MATRIX))) == wanted


def test_a_power_by_an_integer() -> None:
    assert ops(checked(model("y = Pow(x, e)", integers(e=[2]), x=MATRIX))) == ["Mul"]


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("y = Sum(x, a, b)", ["Add", "Add"]),
        ("y = Sum(x, a)", ["Add"]),
        ("y = Mean(x, a, b)", ["Add", "Add", "Mul"]),
        ("y = Max(x, a, b)", ["Max", "Max"]),
        ("y = Min(a, x, b)", ["Min", "Min"]),
        ("m = Sum(x) y = Relu(m)", ["Relu"]),
        ("m = Max(x) y = Relu(m)", ["Relu"]),
    ],
)
def test_sums_of_many(body: str, wanted: list[str]) -> None:
    weights = {name: array for name, array in {"a": normal(16), "b": normal(8, 1)}.items() if f" {name}" in body or f"({name}" in body}
    assert ops(checked(model(body, weights, x=MATRIX))) == wanted


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize(
    ("op", "wanted"),
    [
        ("ReduceL1", ["Abs", "ReduceSum"]),
        ("ReduceL2", ["Mul", "ReduceSum", "Sqrt"]),
        ("ReduceMax", ["ReduceMax"]),
        ("ReduceMean", ["ReduceMean"]),
        ("ReduceSumSquare", ["Mul", "ReduceSum"]),
    ],
)
def test_reductions(op: str, wanted: list[str], opset: int) -> None:
    body = f"y = {op}<axes=[-1], keepdims=0>(x)" if opset < 18 else f"y = {op}<keepdims=0>(x, axes)"
    graph = checked(model(body, integers(axes=[-1]) if opset >= 18 else {}, x=MATRIX, opset=opset))
    assert ops(graph) == wanted
    reduction = next(node for node in graph.nodes if node.op.startswith("Reduce"))
    assert reduced_axes(graph, reduction) == (2,)
    assert ("axes" in reduction.attrs) == (opset < 18 and reduction.op != "ReduceSum")
    assert reduction.attrs["keepdims"] == 0


def test_a_reduction_of_everything_and_one_of_nothing() -> None:
    needs_onnxruntime((1, 24), "does not run a reduction over no axes")
    graph = checked(model("y = ReduceMean(x)", x=MATRIX))
    assert reduced_axes(graph, graph.nodes[0]) == (0, 1, 2)
    assert ops(checked(model("a = ReduceMean<noop_with_empty_axes=1>(x) y = Relu(a)", x=MATRIX, opset=18))) == ["Relu"]


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ('y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(x, w)', [0, 0, 1, 1]),
        ('y = Conv<auto_pad="SAME_LOWER", strides=[2,2]>(x, w)', [1, 1, 0, 0]),
        ('y = Conv<auto_pad="VALID">(x, w)', [0, 0, 0, 0]),
        ('y = MaxPool<auto_pad="SAME_UPPER", kernel_shape=[3,3], strides=[2,2]>(x)', [0, 0, 1, 1]),
        ('y = AveragePool<auto_pad="SAME_LOWER", kernel_shape=[4,4], strides=[1,1]>(x)', [2, 2, 1, 1]),
    ],
)
def test_windows_state_their_pads(body: str, wanted: list[int]) -> None:
    graph = checked(model(body, {"w": normal(6, 4, 3, 3)} if "Conv" in body else {}, x=IMAGE))
    (node,) = graph.nodes
    assert "auto_pad" not in node.attrs
    assert [list(node.attrs[key]) for key in ("pads", "strides")] == [wanted, list(node.attrs["strides"])]
    assert len(node.attrs["kernel_shape"]) == 2


@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ['auto_pad="SAME_UPPER"', 'auto_pad="SAME_LOWER"', 'auto_pad="VALID"', "output_padding=[0,0]"])
def test_transposed_windows_state_their_pads(padding: str, stride: int, kernel: int) -> None:
    graph = checked(model(f"y = ConvTranspose<{padding}, strides=[{stride},{stride}]>(x, w)", x=IMAGE, w=normal(4, 6, kernel, kernel)))
    assert "auto_pad" not in graph.nodes[0].attrs


@pytest.mark.parametrize("size", [15, 16, 17, 18])
@pytest.mark.parametrize("padding", ["", 'auto_pad="SAME_UPPER", ', 'auto_pad="SAME_LOWER", '])
def test_transposed_windows_of_a_wanted_size(padding: str, size: int) -> None:
    body = f"y = ConvTranspose<{padding}output_shape=[{size},{size}], strides=[2,2]>(x, w)"
    assert "output_shape" not in checked(model(body, x=IMAGE, w=normal(4, 6, 3, 3))).nodes[0].attrs


@pytest.mark.parametrize(
    ("body", "wanted", "weights"),
    [
        ("m = MatMul(x, w) y = Add(b, m)", ["Reshape", "Gemm", "Reshape"], {"w": normal(16, 6), "b": normal(6)}),
        (
            "m = MatMul(x, w) a = Add(b, m) d = Div(a, c) s = Sub(c, d) y = Mul(s, b)",
            ["Reshape", "Gemm", "Reshape"],
            {"w": normal(16, 6), "b": normal(6), "c": positive(1)},
        ),
        (
            "m = MatMul(x, w) a = Add(b, m) y = Mul(a, m)",
            ["Reshape", "Gemm", "Reshape", "Add", "Mul"],
            {"w": normal(16, 6), "b": normal(6)},
        ),
        ("m = MatMul(x, w) y = Add(m, b)", ["Reshape", "Gemm", "Reshape", "Add"], {"w": normal(16, 6), "b": normal(8, 1)}),
        ("y = MatMul(x, w)", ["MatMul"], {"w": normal(8, 16, 6)}),
        ("y = MatMul(w, x)", ["MatMul"], {"w": normal(6, 8)}),
        (
            "a = MatMul(x, w) b = MatMul(x, v) y = Add(a, b)",
            ["Reshape", "Gemm", "Reshape", "Gemm", "Reshape", "Add"],
            {"w": normal(16, 6), "v": normal(16, 6)},
        ),
    ],
)
def test_linear_layers(body: str, wanted: list[str], weights: dict[str, Array]) -> None:
    assert ops(checked(model(body, weights, x=MATRIX))) == wanted


def test_a_linear_layer_of_a_transposed_matrix() -> None:
    graph = checked(model("y = Gemm<transA=1>(x, w)", x="float[1,4] x", w=normal(1, 6)))
    assert ops(graph) == ["Transpose", "Gemm"]
    assert not graph.nodes[1].attrs.get("transA", 0)
    for left, transposed in ((normal(6, 4), 0), (normal(4, 6), 1)):
        body = f"y = Gemm<transA={transposed}, transB=1, alpha=0.5>(w, x)"
        assert ops(checked(model(body, x="float[1,4] x", w=left)))[0] == "Gemm"


def test_the_scale_of_attention_goes_into_the_layer_of_the_queries() -> None:
    body = (
        "q = MatMul(x, a) qb = Add(q, b) k = MatMul(x, c) qs = Reshape(qb, heads) qt = Transpose<perm=[0,2,1,3]>(qs)"
        " ks = Reshape(k, heads) kt = Transpose<perm=[0,2,3,1]>(ks) m = MatMul(qt, kt) s = Div(m, root) y = Softmax(s)"
    )
    weights = {"a": normal(16, 12), "b": normal(12), "c": normal(16, 12), **integers(heads=[1, 8, 3, 4]), **scalars(root=2)}
    assert not {"Div", "Mul"} & set(ops(checked(model(body, weights, x=MATRIX), scale=1.0)))


@pytest.mark.parametrize("body", ["m = MatMul(x, w) s = Mul(m, half) y = Add(s, m)", "m = MatMul(x, w) r = Relu(m) y = Mul(r, half)"])
def test_a_scale_that_others_would_see_stays(body: str) -> None:
    assert "Mul" in ops(checked(model(body, {"w": normal(16, 6), **scalars(half=0.5)}, x=MATRIX)))


EINSUMS: list[tuple[str, tuple[int, ...] | None]] = [
    ("bij,jk->bik", (16, 6)),
    ("bij,kj->bik", (6, 16)),
    ("...ij,jk->...ik", (16, 6)),
    ("bij,j->bij", (16,)),
    ("bij,b->ij", (1,)),
    ("bij,jk", (16, 6)),
    ("bij,bkj->bik", None),
    ("bij,bij->bi", None),
    ("B I D, B J D -> B I J", None),
    ("bij,bij->b", None),
    ("bij,bkj->bikj", None),
    ("bij,bkl->bil", None),
]


@pytest.mark.parametrize(("equation", "shape"), EINSUMS)
def test_einsum_of_two(equation: str, shape: tuple[int, ...] | None) -> None:
    weights = {} if shape is None else {"w": normal(*shape)}
    body = f'r = Sin(x) y = Einsum<equation="{equation}">(x, {"r" if shape is None else "w"})'
    assert "Einsum" not in ops(checked(model(body, weights, x=MATRIX)))


@pytest.mark.parametrize("equation", ["bhqd,bhkd->bhqk", "bqhd,bkhd->bhqk", "nchw,nkhw->nck", "...qd,...kd->...qk"])
def test_einsum_of_attention(equation: str) -> None:
    assert ops(checked(model(f'r = Sin(x) y = Einsum<equation="{equation}">(x, r)', x=IMAGE))).count("MatMul") == 1


@pytest.mark.parametrize(
    ("equation", "wanted"), [("bij->bji", ["Transpose"]), ("bij->b", ["ReduceSum"]), ("bij->ji", ["ReduceSum", "Transpose"])]
)
def test_einsum_of_one(equation: str, wanted: list[str]) -> None:
    if equation == "bij->ji":
        needs_onnxruntime((1, 24), "does not run it")
    graph = checked(model(f'y = Einsum<equation="{equation}">(x)', x=MATRIX))
    assert ops(graph) == wanted


def test_a_diagonal_stays() -> None:
    assert ops(checked(model('y = Einsum<equation="bii->bi">(x)', x="float[N,8,8] x"))) == ["Einsum"]


@pytest.mark.parametrize(
    ("body", "wanted", "weights"),
    [
        ("t = Transpose<perm=[0,2,1]>(x) u = Transpose<perm=[0,2,1]>(t) y = Relu(u)", ["Relu"], {}),
        ("t = Transpose<perm=[2,0,1]>(x) u = Transpose<perm=[2,0,1]>(t) y = Sin(u)", ["Transpose", "Sin"], {}),
        ("t = Tile(x, ones) e = Expand(t, full) y = Relu(e)", ["Relu"], integers(ones=[1, 1, 1], full=[1, 8, 16])),
        ("p = Pad(x, none) y = Relu(p)", ["Relu"], integers(none=[0] * 6)),
        ("s = Slice(x, zero, eight, one) y = Relu(s)", ["Relu"], integers(zero=[0], eight=[8], one=[1])),
        ("s = Shape(x) z = ConstantOfShape(s) y = Add(x, z)", ["Add"], {}),
        ("s = Shape(x) e = Expand(a, s) y = Mul(x, e)", ["Mul"], {"a": normal(16)}),
        ("a, b = Split<axis=-1>(x, sizes) y = Mul(a, b)", ["Split", "Mul"], integers(sizes=[8, 8])),
        ("r = Resize(x, , s) y = Relu(r)", ["Relu"], {"s": np.array([1, 1.01, 1.06], np.float32)}),
    ],
)
def test_moves(body: str, wanted: list[str], weights: dict[str, Array]) -> None:
    assert ops(checked(model(body, weights, x=MATRIX))) == wanted


def test_arithmetic_that_does_nothing_is_gone() -> None:
    needs_onnxruntime((1, 24), "does not know this operator set")
    assert ops(checked(model("y = Swish(x)", x=MATRIX, opset=24))) == ["Sigmoid", "Mul"]
    body = "a = Mul(x, one) b = Div(a, one) c = Add(b, zero) d = Sub(c, zero) y = Sin(d)"
    assert ops(checked(model(body, scalars(one=1, zero=0), x=MATRIX))) == ["Sin"]


def test_a_split_in_a_number_of_parts_states_their_sizes() -> None:
    graph = checked(model("a, b, y = Split<num_outputs=3, axis=-1>(x)", x=MATRIX, opset=18))
    assert graph.nodes[0].attrs == {"axis": 2}
    assert graph.weights[graph.nodes[0].inputs[1]].tolist() == [6, 6, 4]


@pytest.mark.parametrize(
    ("body", "opset", "scale"),
    [
        ('y = Upsample<mode="nearest">(x, s)', 9, 2.0),
        ('y = Upsample<mode="linear">(x, s)', 9, 2.0),
        ('y = Resize<mode="nearest">(x, s)', 10, 1.5),
        ('y = Resize<mode="nearest">(x, s)', 10, 0.5),
        ('y = Resize<mode="linear">(x, s)', 10, 0.5),
    ],
)
def test_old_resizes_sample_as_they_did(body: str, opset: int, scale: float) -> None:
    graph = checked(model(body, opset=opset, s=np.array([1, 1, scale, scale], np.float32)))
    assert graph.nodes[0].attrs["coordinate_transformation_mode"] == "asymmetric"


@pytest.mark.parametrize("opset", range(7, min(onnx.defs.onnx_opset_version(), 24) + 1))
def test_operator_sets(opset: int) -> None:
    if opset > 23:
        needs_onnxruntime((1, 24), f"does not know operator set {opset}")
    body = "c = Conv<pads=[1,1,1,1]>(x, w) r = Relu(c) p = MaxPool<kernel_shape=[2,2]>(r) f = Flatten(p) y = Gemm(f, k, b)"
    graph = checked(model(body, opset=opset, w=normal(6, 4, 3, 3), k=normal(294, 3), b=normal(3)))
    assert graph.opset == max(opset, 17)
    assert ops(graph) == ["Conv", "Relu", "MaxPool", "Reshape", "Gemm"]
