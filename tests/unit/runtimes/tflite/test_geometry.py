"""Windows of every geometry: whatever kernel, stride, padding and dilation, the result is ONNX's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgekit.errors import BuildError
from edgekit.runtimes.tflite import TfliteRuntime
from tests.unit.quantize.networks import has_onnxruntime
from tests.unit.runtimes.tflite.cases import Case
from tests.unit.runtimes.tflite.emitting import Runner, float_session, minmax_plan, sqnr_db

pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
size = st.tuples(st.integers(5, 11), st.integers(5, 11))
quad = st.tuples(*[st.integers(0, 2)] * 4)


def measured_db(case: Case) -> float:
    graph, samples = case.graph(), case.samples()[:8]
    artifact = TfliteRuntime().emit(graph, minmax_plan(graph, samples), io_dtype="int8", layout="nchw")
    runner, session = Runner(artifact.data), float_session(graph)
    references = np.stack([session.run(None, {"x": sample})[0] for sample in samples])
    return sqnr_db(references, np.stack([runner.real(runner.quantize(sample)) for sample in samples]))


@settings(max_examples=60)
@given(size, pair, pair, quad, pair, st.sampled_from(["plain", "depthwise"]))
def test_convolutions(
    size: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int], pads: tuple[int, ...], dilations: tuple[int, int], kind: str
) -> None:
    assume(all((k - 1) * d + 1 <= n for k, d, n in zip(kernel, dilations, size, strict=True)))
    group, inner = (4, 1) if kind == "depthwise" else (1, 4)
    attributes = f"strides={list(strides)}, pads={list(pads)}, dilations={list(dilations)}, group={group}"
    case = Case(name="c", inputs={"x": (1, 4, *size)}, weights={"w": (4, inner, *kernel)}, body=f"y = Conv<{attributes}>(x, w)")
    assert measured_db(case) > 30


@settings(max_examples=60)
@given(size, pair, pair, quad, st.sampled_from(["MaxPool", "AveragePool"]), st.booleans(), st.booleans())
def test_pooling(
    size: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int], pads: tuple[int, ...], op: str, ceil: bool, counted: bool
) -> None:
    # ONNX wants pads below the kernel.
    assume(all(p < k for p, k in zip(pads, (*kernel, *kernel), strict=True)))
    # Older ones divide by the whole window where it reaches past the padding.
    assume(not (op == "AveragePool" and ceil and counted) or has_onnxruntime((1, 24)))
    attributes = f"kernel_shape={list(kernel)}, strides={list(strides)}, pads={list(pads)}, ceil_mode={int(ceil)}"
    if op == "AveragePool":
        attributes += f", count_include_pad={int(counted)}"
    case = Case(name="p", inputs={"x": (1, 3, *size)}, body=f"y = {op}<{attributes}>(x)")
    refused, quality = "", 0.0
    try:
        quality = measured_db(case)
    except BuildError as error:
        refused = error.message
    assert "its last window lies outside the image" in refused if refused else quality > 23


@settings(max_examples=80)
@given(size, pair, st.integers(1, 3), st.booleans(), quad, pair, st.sampled_from([1, 2, 4]))
def test_transposed_convolutions(
    size: tuple[int, int], kernel: tuple[int, int], stride: int, down: bool, pads: tuple[int, ...], dilations: tuple[int, int], group: int
) -> None:
    strides = [stride if down else 1, stride]
    full = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(size, strides, kernel, dilations, strict=True)]
    assume(all(f - a - b >= 1 for f, a, b in zip(full, pads[:2], pads[2:], strict=True)))
    attributes = f"strides={strides}, pads={list(pads)}, dilations={list(dilations)}, group={group}"
    case = Case(name="t", inputs={"x": (1, 4, *size)}, weights={"w": (4, 3, *kernel)}, body=f"y = ConvTranspose<{attributes}>(x, w)")
    assert measured_db(case) > 30


MODES = ["asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners", "half_pixel_symmetric"]


@settings(max_examples=80, derandomize=True)  # where two pixels are equally near, rounding decides
@given(size, size, st.sampled_from(MODES), st.sampled_from(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]), st.booleans())
def test_nearest_neighbours(before: tuple[int, int], after: tuple[int, int], mode: str, rule: str, by_scales: bool) -> None:
    assume(before != after)  # onnxruntime copies then, whatever the scales
    assume(not by_scales or mode != "half_pixel_symmetric")  # its middle is whole but for rounding
    attributes = f'coordinate_transformation_mode="{mode}", nearest_mode="{rule}"'
    wanted = f"value_ints={[1, 3, *after]}"
    if by_scales:
        wanted = f"value_floats={[1.0, 1.0, *((a + 0.3) / b for a, b in zip(after, before, strict=True))]}"
    body = f's = Constant<{wanted}>() y = Resize<mode="nearest", {attributes}>(x, {", s" if by_scales else ", , s"})'
    assert measured_db(Case(name="r", opset=19, inputs={"x": (1, 3, *before)}, body=body)) > 35


@pytest.mark.parametrize("shape", [(1, 2, 1, 5), (1, 1, 4, 5), (1, 6, 1, 1), (2, 3, 1, 1), (1, 3, 4, 1)])
def test_layouts_of_thin_images(shape: tuple[int, ...]) -> None:
    flat = [shape[0], int(np.prod(shape[1:]))]
    body = f"r = Relu(x) s = Constant<value_ints={flat}>() y = Reshape(r, s)"
    assert measured_db(Case(name="f", inputs={"x": shape}, body=body)) > 30
