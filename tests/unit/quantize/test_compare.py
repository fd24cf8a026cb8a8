"""What `compare` measures, held against the same figures made by hand from tensors that were all kept."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.graph import Array, Graph, from_onnx
from edgekit.plan import NodePrecision, QuantPlan, Range, Scheme, asymmetric_int8
from edgekit.quantize.attention import SOFTMAX
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.compare import Measured, channel_axes, compare, grid_of, output_losses
from edgekit.quantize.normalise import normalise
from edgekit.quantize.simulate import on_grid, session, simulate
from tests.unit.quantize.networks import model

BODY = """
a = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(a) m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
d = Conv<pads=[1,1,1,1], group=6>(m, v) s = Add(d, m) c = Concat<axis=1>(s, d) f = Flatten(c) y = Gemm(f, g)
"""


def normal(*shape: int, seed: int = 0) -> Array:
    """Return random values that depend on nothing but what is asked for."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape, dtype=np.float32)


SAMPLES = [{"x": normal(1, 4, 8, 8, seed=number)} for number in range(12)]
TENSORS = ["r", "m", "d", "s", "c", "y"]


@pytest.fixture(scope="module")
def graph() -> Graph:
    return normalise(model(BODY, w=normal(6, 4, 3, 3), b=normal(6), v=normal(6, 1, 3, 3), g=normal(192, 10)))


@pytest.fixture(scope="module")
def plan(graph: Graph) -> QuantPlan:
    # Ranges of a part of the samples, so that the others saturate.
    return calibrate(graph, SAMPLES[:3], total=3, method="percentile", dataset_sha256=None)


def tensors(graph: Graph, names: list[str]) -> dict[str, Array]:
    runner = session(graph, names)
    rows = [runner.run(names, sample) for sample in SAMPLES]
    return {name: np.concatenate(column).astype(np.float64) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def by_tensor(graph: Graph, plan: QuantPlan, quantized: Graph | None = None) -> dict[str, Measured]:
    found = compare(graph, quantized or graph, plan, iter(SAMPLES), total=len(SAMPLES))
    return {layer.tensor: layer for layer in found}


def power(values: Array) -> float:
    return float(np.square(values).sum())


def test_layers_are_inputs_and_nodes_with_their_clamps_and_what_only_moves_is_none(graph: Graph, plan: QuantPlan) -> None:
    found = by_tensor(graph, plan)
    assert list(found) == ["x", *TENSORS]
    assert [layer.op for layer in found.values()] == ["Input", "Conv", "MaxPool", "Conv", "Add", "Concat", "Gemm"]
    assert found["r"].range == plan.ranges["r"]


def test_the_whole_is_what_the_simulation_gives(graph: Graph, plan: QuantPlan) -> None:
    exact, rounded = tensors(graph, TENSORS), tensors(simulate(graph, plan), TENSORS)
    found = by_tensor(graph, plan)
    for name in TENSORS:
        layer = found[name]
        assert float(layer.signal.sum()) == pytest.approx(power(exact[name]), rel=1e-4)
        assert layer.whole == pytest.approx(power(exact[name] - rounded[name]), rel=1e-3)
        assert layer.whole_power == pytest.approx(power(rounded[name]), rel=1e-4)
        together = float((exact[name] * rounded[name]).sum()) / np.sqrt(power(exact[name]) * power(rounded[name]))
        assert layer.loss_whole.cosine == pytest.approx(together, abs=1e-5)
        assert layer.loss_whole.sqnr_db == pytest.approx(10 * np.log10(power(exact[name]) / power(exact[name] - rounded[name])), abs=0.01)
    losses = output_losses(graph, graph, plan, SAMPLES)
    assert losses["y"].sqnr_db == pytest.approx(found["y"].loss_whole.sqnr_db, abs=1e-3)


def test_alone_means_that_all_else_is_float(graph: Graph, plan: QuantPlan) -> None:
    """Of the depthwise convolution: one node's simulation, fed with float values."""
    name = graph.producers["d"].name
    exact = tensors(graph, ["m", "d"])
    only = simulate(graph, plan, only=[name])
    alone = tensors(only, ["m", "d"])
    np.testing.assert_array_equal(exact["m"], alone["m"])
    found = by_tensor(graph, plan)["d"]
    channels = (0, 2, 3)
    np.testing.assert_allclose(found.alone, np.square(exact["d"] - alone["d"]).sum(axis=channels), rtol=1e-3)
    np.testing.assert_allclose(found.signal, np.square(exact["d"]).sum(axis=channels), rtol=1e-4)
    np.testing.assert_allclose(found.lo, exact["d"].min(axis=channels), rtol=1e-5)
    np.testing.assert_allclose(found.hi, exact["d"].max(axis=channels), rtol=1e-5)
    assert found.noise == pytest.approx(power(exact["d"] - alone["d"]) / power(exact["d"]), rel=1e-3)


def test_the_parts_of_the_error(graph: Graph, plan: QuantPlan) -> None:
    # Narrow enough that something is cut off, whatever the weights.
    seen = plan.ranges["y"]
    plan = msgspec.structs.replace(plan, ranges={**plan.ranges, "y": Range(0.7 * seen.lo, 0.7 * seen.hi, seen.method)})
    found, exact = by_tensor(graph, plan)["y"], tensors(graph, ["f", "y"])
    node = graph.producers["y"]
    rounded = on_grid(graph.weights[node.inputs[1]], plan.weights[node.inputs[1]])
    assert found.weights == pytest.approx(power(exact["y"] - exact["f"] @ rounded), rel=1e-3)
    scale, zero_point = asymmetric_int8(plan.ranges["y"].lo, plan.ranges["y"].hi)
    levels = np.rint(exact["y"] / scale) + zero_point
    assert found.stored == pytest.approx(power(exact["y"] - (np.clip(levels, -128, 127) - zero_point) * scale), rel=1e-2)
    grid = grid_of(plan, "y")
    assert found.clipped == pytest.approx(power(exact["y"] - np.clip(exact["y"], grid.lo, grid.hi)), rel=1e-3)
    assert found.saturated == int(((levels > 127) | (levels < -128)).sum()) > 0
    assert found.values == exact["y"].size


def test_an_input_is_stored_and_no_more(graph: Graph, plan: QuantPlan) -> None:
    found = by_tensor(graph, plan)["x"]
    assert (found.name, found.precision, found.weights) == ("x", "int8", 0.0)
    assert float(found.alone.sum()) == pytest.approx(found.stored)
    assert found.whole == pytest.approx(found.stored)
    grid = grid_of(plan, "x")
    values = np.stack([sample["x"] for sample in SAMPLES])
    assert found.saturated == int(((values > grid.hi + grid.step / 2) | (values < grid.lo - grid.step / 2)).sum())
    kept = msgspec.structs.replace(plan, nodes={graph.producers["a"].name: NodePrecision("float32", "to see")})
    assert by_tensor(graph, kept)["x"].precision == "float32"
    assert by_tensor(graph, kept)["x"].noise == 0.0


def test_a_float_layer_loses_nothing_alone(graph: Graph, plan: QuantPlan) -> None:
    name = graph.producers["d"].name
    found = by_tensor(graph, msgspec.structs.replace(plan, nodes={name: NodePrecision("float32", "to see")}))["d"]
    assert (found.precision, found.noise, found.weights) == ("float32", 0.0, 0.0)
    assert found.loss_alone.sqnr_db is None
    assert found.loss_alone.cosine == pytest.approx(1.0)
    assert found.whole > 0


def test_without_stores_a_result_is_rounded_only_where_it_is_read(graph: Graph, plan: QuantPlan) -> None:
    symmetric = msgspec.structs.replace(plan, scheme=Scheme(symmetric=True, stores=False))
    exact, rounded = tensors(graph, ["d"]), tensors(simulate(graph, symmetric), ["d"])
    found = by_tensor(graph, symmetric)["d"]
    assert found.whole == pytest.approx(power(exact["d"] - rounded["d"]), rel=1e-3)
    assert float(found.alone.sum()) < float(by_tensor(graph, plan)["d"].alone.sum())
    assert grid_of(symmetric, "d").zero_point == 0


def test_the_artifacts_own_biases_count(graph: Graph, plan: QuantPlan) -> None:
    bias = graph.producers["a"].inputs[2]
    moved = replace(graph, weights={**graph.weights, bias: graph.weights[bias] + np.float32(0.25)})
    exact, rounded = tensors(graph, ["r"]), tensors(simulate(moved, plan), ["r"])
    assert by_tensor(graph, plan, moved)["r"].whole == pytest.approx(power(exact["r"] - rounded["r"]), rel=1e-3)


@pytest.mark.parametrize("opset", [17, 18, 20])
def test_reductions_in_every_operator_set(opset: int) -> None:
    graph = normalise(model("c = Conv(x, w) y = Relu(c)", opset=opset, w=normal(3, 4, 1, 1)))
    plan = calibrate(graph, SAMPLES, total=12, dataset_sha256=None)
    assert by_tensor(graph, plan)["y"].signal.shape == (3,)


def test_tensors_of_every_rank() -> None:
    """A scalar, a vector and a table of embeddings, read by whole numbers."""
    body = "e = Gather(table, x) t = Sin(e) s = ReduceSum<keepdims=0>(t) y = Mul(t, s)"
    graph = normalise(model(body, x="int64[1,5] x", table=normal(7, 6)))
    feeds = [{"x": np.array([[n, 1, 2, 3, 4]], np.int64)} for n in range(5)]
    plan = calibrate(graph, feeds, total=5, dataset_sha256=None)
    found = {layer.tensor: layer for layer in compare(graph, graph, plan, feeds, total=5)}
    assert {name: layer.signal.shape for name, layer in found.items()} == {"e": (6,), "t": (6,), "s": (1,), "y": (6,)}
    assert found["s"].values == 5


@pytest.mark.parametrize(
    ("body", "x", "weight", "wanted"),
    [
        ("y = Conv(x, w)", "float[1,4,8] x", (5, 4, 1), 1),
        ("c = Conv(x, w) y = Relu(c)", "float[1,4,8] x", (5, 4, 1), 1),
        ("y = MatMul(x, w)", "float[1,4,8] x", (8, 5), 2),
        ("y = Conv(x, w)", "float[1,4,8,8] x", (5, 4, 1, 1), 1),
    ],
)
def test_where_channels_lie(body: str, x: str, weight: tuple[int, ...], wanted: int) -> None:
    assert channel_axes(from_onnx(model(body, x=x, w=normal(*weight))))["y"] == wanted


def test_values_beyond_squaring_have_no_figure_and_harm_no_other() -> None:
    graph = normalise(model("m = Mul(x, big) y = Tanh(m)", big=np.array(3e38, np.float32)))
    feeds = [{"x": np.full((1, 4, 8, 8), 0.5, np.float32)}]
    ranges = {name: Range(-1.0, 3e38 if name == "m" else 1.0, "minmax") for name in graph.activations}
    plan = QuantPlan(graph_sha256="", dataset_sha256=None, samples=1, method="minmax", ranges=ranges, weights={})
    found = {layer.tensor: layer for layer in compare(graph, graph, plan, feeds, total=1)}
    assert found["m"].loss_alone.sqnr_db is None
    assert found["m"].noise == 0.0
    assert float(found["m"].hi.max()) == pytest.approx(1.5e38)
    assert found["y"].loss_alone.sqnr_db is not None


def test_what_was_cut_off_for_a_softmax_is_no_loss() -> None:
    """A masked score of -1000 saturates at the edge of the range by intent; values above the range do so by mistake."""
    mask = np.array([0, 0, 0, -1000, -1000, -1000, -1000, -1000], np.float32)
    graph = normalise(model("t = Transpose<perm=[0,1,3,2]>(x) s = MatMul(x, t) m = Add(s, mask) y = Softmax(m)", mask=mask))
    plan = calibrate(graph, SAMPLES, total=12, method="minmax", dataset_sha256=None)
    assert plan.ranges["m"].method == SOFTMAX
    found = by_tensor(graph, plan)["m"]
    assert found.saturated == 0
    assert found.clipped < 0.01 * float(found.alone.sum())
    sqnr = found.loss_alone.sqnr_db
    assert sqnr is not None
    assert sqnr > 25
    assert float(found.lo.min()) < -900, "what is seen is told as it is"
    wide = plan.ranges["m"]
    narrow = msgspec.structs.replace(plan, ranges={**plan.ranges, "m": Range(wide.lo, wide.hi / 2, SOFTMAX)})
    assert by_tensor(graph, narrow)["m"].saturated > 0


def test_no_samples_and_samples_that_do_not_run(graph: Graph, plan: QuantPlan) -> None:
    with pytest.raises(InputError, match="no samples to compare on"):
        compare(graph, graph, plan, [], total=0)
    with pytest.raises(InputError, match="cannot run the model on sample 0"):
        compare(graph, graph, plan, [{"x": normal(1, 4, 8, 9)}], total=1)


def test_progress(graph: Graph, plan: QuantPlan) -> None:
    stages: list[tuple[str, int, int]] = []
    compare(graph, graph, plan, SAMPLES, total=12, progress=lambda *stage: stages.append(stage))
    assert stages == [("compare layers", done, 12) for done in range(13)]


MEMORY = """
import re, sys
from edgekit.plan import QuantPlan, Range
from edgekit.quantize.compare import compare
from edgekit.quantize.normalise import normalise
from tests.unit.quantize.networks import model, normal

layers, count = int(sys.argv[1]), int(sys.argv[2])
body = " ".join(f"t{i + 1} = Sin({f't{i}' if i else 'x'})" for i in range(layers)) + f" y = Cos(t{layers})"
graph = normalise(model(body, x="float[N,16,256,256] x"))
ranges = {name: Range(-1.0, 1.0, "minmax") for name in graph.activations}
plan = QuantPlan(graph_sha256="", dataset_sha256=None, samples=1, method="minmax", ranges=ranges, weights={})
sample = {"x": normal(1, 16, 256, 256)}
compare(graph, graph, plan, (sample for _ in range(count)), total=count)
print(int(re.search(r'VmHWM:\\s+([0-9]+)', open('/proc/self/status').read())[1]) / 1024)
"""


def test_memory_grows_neither_with_layers_nor_with_samples() -> None:
    """A tensor has 4 MiB here and a layer three: 36 layers more, kept, would be 432 MiB."""
    root = Path(__file__).resolve().parents[3]

    def peak_mib(*words: str) -> float:
        done = subprocess.run([sys.executable, "-c", MEMORY, *words], cwd=root, capture_output=True, text=True, check=True)
        return float(done.stdout)

    small = peak_mib("4", "2")
    assert peak_mib("40", "2") - small < 40
    assert peak_mib("4", "30") - small < 40
