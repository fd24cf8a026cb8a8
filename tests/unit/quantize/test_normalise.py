from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.errors import InputError
from edgekit.graph import Array
from edgekit.quantize.normalise import normalise
from tests.unit.quantize.networks import checked, model, normal, ops, positive

CONV = "c = Conv<pads=[1,1,1,1]>(x, w, b)"


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("y = BatchNormalization(c, g, h, m, v)", {"g": normal(6), "h": normal(6), "m": normal(6), "v": positive(6)}),
        ("y = Mul(c, g)", {"g": normal(6, 1, 1)}),
        ("y = Mul(g, c)", {"g": normal(1)}),
        ("y = Div(c, g)", {"g": positive(1, 6, 1, 1)}),
        ("y = Add(c, g)", {"g": normal(1, 6, 1, 1)}),
        ("y = Sub(c, g)", {"g": normal(6, 1, 1)}),
        ("y = Sub(g, c)", {"g": normal(6, 1, 1)}),
        (
            "d = BatchNormalization(c, g, h, m, v) e = Mul(d, s) y = Sub(s, e)",
            {"g": normal(6), "h": normal(6), "m": normal(6), "v": positive(6), "s": normal(6, 1, 1)},
        ),
    ],
)
def test_affine_steps_go_into_a_convolution(body: str, weights: dict[str, Array]) -> None:
    assert ops(checked(model(f"{CONV} {body}", weights, w=normal(6, 4, 3, 3), b=normal(6)))) == ["Conv"]


@pytest.mark.parametrize("group", [1, 2])
def test_affine_steps_go_into_a_transposed_convolution(group: int) -> None:
    body = f"c = ConvTranspose<strides=[2,2], group={group}>(x, w) y = BatchNormalization(c, g, h, m, v)"
    weights = {"w": normal(4, 6 // group, 3, 3), "g": normal(6), "h": normal(6), "m": normal(6), "v": positive(6)}
    assert ops(checked(model(body, weights))) == ["ConvTranspose"]


@pytest.mark.parametrize("trans", [0, 1])
def test_affine_steps_go_into_a_gemm_with_its_alpha_and_beta(trans: int) -> None:
    body = f"c = Gemm<transB={trans}, alpha=0.5, beta=2.0>(x, w, b) d = BatchNormalization(c, g, h, m, v) y = Mul(d, s)"
    weights = {"w": normal(5, 4) if trans else normal(4, 5), "b": normal(5), "g": normal(5), "h": normal(5), "m": normal(5)}
    assert ops(checked(model(body, weights, x="float[N,4] x", v=positive(5), s=normal(5)))) == ["Gemm"]


@pytest.mark.parametrize(
    "body",
    [
        f"{CONV} d = Mul(c, g) y = Add(d, c)",  # c is read twice
        f"{CONV} y = Add(c, wide)",  # not per channel
        f"{CONV} y = Mul(c, c)",
    ],
)
def test_what_cannot_be_folded_stays(body: str) -> None:
    graph = checked(model(body, w=normal(6, 4, 3, 3), b=normal(6), g=normal(6, 1, 1), wide=normal(6, 8, 8)))
    assert ops(graph)[0] == "Conv"
    assert len(graph.nodes) > 1


def test_a_tensor_that_is_an_output_is_not_folded_away() -> None:
    graph = checked(model(f"{CONV} y = Mul(c, g)", y="float[] c, float[] y", w=normal(6, 4, 3, 3), b=normal(6), g=normal(6, 1, 1)))
    assert [spec.name for spec in graph.outputs] == ["c", "y"]
    assert "c" in graph.producers


def test_a_batch_norm_alone_becomes_mul_and_add() -> None:
    weights = {"g": normal(4), "h": normal(4), "m": normal(4), "v": positive(4)}
    assert ops(checked(model("d = BatchNormalization(x, g, h, m, v) y = Relu(d)", weights))) == ["Mul", "Add", "Relu"]


@pytest.mark.parametrize(
    "body",
    [
        "y = HardSwish(x)",
        "h = HardSigmoid<alpha=0.16666667, beta=0.5>(x) y = Mul(x, h)",
        "a = Add(x, three) r = Clip(a, zero, six) m = Mul(x, r) y = Div(m, six)",
        "a = Add(three, x) r = Clip(a, zero, six) m = Mul(r, x) y = Mul(sixth, m)",
        "a = Add(x, three) r = Clip(a, zero, six) h = Div(r, six) y = Mul(h, x)",
        "a = Add(x, three) r = Clip(a, zero, six) h = Mul(r, sixth) y = Mul(x, h)",
    ],
)
def test_every_spelling_of_hard_swish(body: str) -> None:
    constants = {"three": 3.0, "six": 6.0, "zero": 0.0, "sixth": 1.0 / 6.0}
    used = {name: np.array(value, np.float32) for name, value in constants.items() if name in body}
    assert ops(checked(model(body, used))) == ["HardSwish"]


def test_a_hard_sigmoid_alone_and_what_only_looks_like_a_hard_swish() -> None:
    constants = {"three": np.array(3, np.float32), "six": np.array(6, np.float32), "zero": np.array(0, np.float32)}
    gate = "a = Add(x, three) r = Clip(a, zero, six) h = Div(r, six)"
    assert ops(checked(model(f"{gate} y = Sqrt(h)", constants))) == ["HardSigmoid", "Sqrt"]
    assert ops(checked(model(f"{gate} z = Sin(x) y = Mul(z, h)", constants))).count("HardSigmoid") == 1
    two = np.array(2, np.float32)
    near = checked(
        model("a = Add(x, two) r = Clip(a, zero, six) h = Div(r, six) y = Mul(x, h)", two=two, six=constants["six"], zero=constants["zero"])
    )
    assert "HardSwish" not in ops(near)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("y = Clip(x, zero)", "Relu"),
        ("y = Clip(x, zero, six)", "Clip"),
        ("y = Clip(x, , six)", "Clip"),
        ("r = Relu(x) y = Clip(r, zero, six)", "Clip"),
    ],
)
def test_clips_have_one_spelling(body: str, wanted: str) -> None:
    weights = {name: np.array(value, np.float32) for name, value in (("zero", 0), ("six", 6)) if name in body}
    graph = checked(model(body, weights))
    assert ops(graph) == [wanted]
    if wanted == "Clip":
        bounds = [float(graph.weights[name]) for name in graph.nodes[0].inputs[1:]]
        assert bounds[1] == 6.0


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("a = Identity(x) b = Dropout(a) y = Relu(b)", ["Relu"]),
        ("a = Relu(x) y = Identity(a)", ["Relu"]),
        ("a = Relu(x) b = Cast<to=1>(a) y = Sin(b)", ["Relu", "Sin"]),
        ("a = Flatten(x) y = Relu(a)", ["Reshape", "Relu"]),
        ("a = Relu(x) b = Unsqueeze(a, one) c = Squeeze(b, one) y = Sin(c)", ["Relu", "Sin"]),
        ("s = Shape(x) a = Reshape(x, s) y = Relu(a)", ["Relu"]),
        ("s = Shape<end=1>(x) t = Concat<axis=0>(s, minus) a = Reshape(x, t) y = Relu(a)", ["Reshape", "Relu"]),
        ("dead = Sin(x) y = Relu(x)", ["Relu"]),
    ],
)
def test_what_does_nothing_is_gone(body: str, wanted: list[str]) -> None:
    constants = {"one": np.array([1]), "minus": np.array([-1])}
    proto = model(body, {name: array for name, array in constants.items() if f" {name})" in body})
    assert ops(checked(proto)) == wanted


def test_a_pad_goes_into_the_convolution() -> None:
    body = "p = Pad(x, pads) y = Conv(p, w)"
    graph = checked(model(body, w=normal(6, 4, 3, 3), pads=np.array([0, 0, 1, 2, 0, 0, 2, 1])))
    assert ops(graph) == ["Conv"]
    assert graph.nodes[0].attrs["pads"] == [1, 2, 2, 1]


def test_an_old_operator_set_is_raised() -> None:
    body = "d, mask = Dropout<ratio=0.3>(x) c = Clip<min=0.0, max=6.0>(d) s = Unsqueeze<axes=[1]>(c) q = Squeeze<axes=[1]>(s) y = Relu(q)"
    graph = checked(model(body, opset=9))
    assert graph.opset == 17
    assert ops(graph)[0] == "Clip"


def test_an_operator_set_of_the_future_is_refused() -> None:
    proto = model("y = Relu(x)")
    proto.opset_import[0].version = onnx.defs.onnx_opset_version() + 1
    with pytest.raises(InputError, match="the installed onnx knows") as caught:
        normalise(proto)
    assert "opset_version=17" in str(caught.value.fix)


def test_constants_listed_as_inputs_are_constants() -> None:
    proto = model(f"{CONV} y = Relu(c)", w=normal(6, 4, 3, 3), b=normal(6))
    proto.ir_version = 3
    for tensor in proto.graph.initializer:
        proto.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    graph = checked(proto)
    assert [spec.name for spec in graph.inputs] == ["x"]


def test_the_given_model_is_left_alone() -> None:
    proto = model(f"{CONV} y = Relu(c)", w=normal(6, 4, 3, 3), b=normal(6))
    before = proto.SerializeToString(deterministic=True)
    normalise(proto)
    assert proto.SerializeToString(deterministic=True) == before


def test_open_dimensions_need_sizes() -> None:
    proto = model("y = Relu(x)", x="float[N,T,4] x")
    with pytest.raises(InputError, match=r"input 'x' has open dimensions: \[N, T, 4\]") as caught:
        normalise(proto)
    assert "[model] shapes" in str(caught.value.fix)
    assert normalise(proto, shapes={"x": (1, 16, 4)}).inputs[0].shape == (1, 16, 4)
    with pytest.raises(InputError, match="does not fit input 'x'"):
        normalise(proto, shapes={"x": (1, 16, 5)})
    with pytest.raises(InputError, match="no input 'z'"):
        normalise(proto, shapes={"z": (1,)})


@pytest.mark.parametrize("x", ["float[8,4] x", "float[40] x", "float x"])
def test_a_fixed_batch_of_another_size_is_refused(x: str) -> None:
    with pytest.raises(InputError, match="batch of 1"):
        normalise(model("y = Relu(x)", x=x))


@pytest.mark.parametrize(
    ("x", "body", "words"),
    [
        ("float[N,4] x", "q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)", "already quantized"),
        ("float16[N,4] x", "y = Relu(x)", "float16"),
        ("float[N,4] x", "h = Cast<to=11>(x) r = Relu(h) y = Cast<to=1>(r)", "float64"),
    ],
)
def test_models_that_are_not_float32_are_refused(x: str, body: str, words: str) -> None:
    weights: dict[str, Array] = {"s": np.array(0.1, np.float32), "z": np.array(0, np.uint8)} if "Quantize" in body else {}
    with pytest.raises(InputError, match=words):
        normalise(model(body, weights, x=x))


def test_a_model_that_the_runtime_refuses() -> None:
    with pytest.raises(InputError, match="refuses"):
        normalise(model("y = Concat<axis=9>(x, x)"))


RESNET20 = {"Conv": 19, "Relu": 19, "Add": 9, "Slice": 2, "Pad": 2, "ReduceMean": 1, "Gemm": 1}
MOBILENET = {"Conv": 52, "Clip": 35, "Add": 10, "ReduceMean": 1, "Gemm": 1}
EFFICIENTNET = {"Conv": 49, "Clip": 33, "Add": 9, "GlobalAveragePool": 1, "Reshape": 1, "Gemm": 1}


@pytest.mark.models
@pytest.mark.parametrize(("name", "wanted"), [("resnet20_cifar10", RESNET20), ("mobilenetv2_backbone_cifar10probe_128", MOBILENET)])
def test_whole_models(shared_data: Path, name: str, wanted: dict[str, int]) -> None:
    graph = checked(onnx.load(shared_data / "models" / f"{name}.onnx"))
    assert Counter(ops(graph)) == wanted


@pytest.mark.models
def test_a_whole_model_with_shape_arithmetic(made_data: Path) -> None:
    path = made_data / "models" / "efficientnet_lite0_imagenet_224.onnx"
    if not path.is_file():
        pytest.skip("efficientnet_lite0_imagenet_224.onnx is not made")
    assert Counter(ops(checked(onnx.load(path)))) == EFFICIENTNET


@pytest.mark.models
def test_the_digest_is_the_same_in_every_process(shared_data: Path) -> None:
    path = shared_data / "models" / "resnet32_cifar10.onnx"
    here = normalise(onnx.load(path)).sha256
    program = "import sys, onnx; from edgekit.quantize.normalise import normalise; print(normalise(onnx.load(sys.argv[1])).sha256)"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
        done = subprocess.run([sys.executable, "-c", program, str(path)], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == here
