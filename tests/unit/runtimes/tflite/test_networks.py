"""Whole networks: normalised, restated, planned as a build does, and held against onnxruntime on the model as exported."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
import pytest

from edgekit.graph import Array, Graph
from edgekit.plan import NodePrecision, QuantPlan
from edgekit.quantize.calibrate import plan_from
from edgekit.quantize.head import mixed_outputs
from edgekit.quantize.normalise import normalise
from edgekit.quantize.observe import observe
from edgekit.runtimes.tflite import TfliteRuntime
from edgekit.runtimes.tflite.inspect import operators
from tests.unit.quantize.networks import run
from tests.unit.runtimes.tflite import networks
from tests.unit.runtimes.tflite.emitting import Runner, real, sqnr_db

SAMPLES = 12


class Wanted(NamedTuple):
    """Least SQNR of the int8 file, most transpositions in it, and the operators that may be float in it."""

    sqnr_db: float
    transposes: int
    floats: str = ""


NETWORKS = {
    # NCHW samples cost a transposition where the image has channels, and so does an NCHW output.
    "depthwise_keywords": Wanted(34, 0),
    "sequence_keywords": Wanted(29, 1),
    "segmenter": Wanted(37, 2),
    "super_resolution": Wanted(29, 0),
    "squeeze_excite": Wanted(32, 1),
    "lstm_classifier": Wanted(36, 0),
    "gru_classifier": Wanted(33, 1),
    # The parts of an output of boxes and scores come with their own scales.
    "detector": Wanted(35, 3, "DEQUANTIZE CONCATENATION"),
    "grid_detector": Wanted(32, 3, "DEQUANTIZE CONCATENATION RESHAPE TRANSPOSE"),
    # Normalisation is float, and what stands between two of them.
    "encoder": Wanted(31, 8, "DEQUANTIZE QUANTIZE CAST ADD SUB MUL DIV MEAN SUM SQUARED_DIFFERENCE RSQRT"),
}


def drawn(graph: Graph) -> list[dict[str, Array]]:
    random = np.random.default_rng(5)

    def value(name: str, shape: tuple[int, ...]) -> Array:
        if name == "tokens":
            return random.integers(0, 50, shape)
        if name == "mask":
            return (np.arange(shape[1]) < random.integers(4, shape[1] + 1)).astype(np.int64)[None]
        return random.standard_normal(shape).astype(np.float32)

    return [{spec.name: value(spec.name, spec.shape) for spec in graph.inputs} for _ in range(SAMPLES)]


def planned(graph: Graph, feeds: list[dict[str, Array]]) -> QuantPlan:
    kept = {name: one.why for name, one in TfliteRuntime().support(graph).items() if one.precision == "float32"}
    histograms = observe(graph, feeds, total=SAMPLES)
    plan = plan_from(graph, histograms, total=SAMPLES, method="mse", dataset_sha256=None, nodes={})
    kept |= mixed_outputs(graph, plan.ranges)
    return msgspec.structs.replace(plan, nodes={name: NodePrecision("float32", why) for name, why in kept.items()})


def answers(data: bytes, feeds: list[dict[str, Array]]) -> Array:
    runner = Runner(data)
    raw = [runner.run({name: runner.quantize(value, name) for name, value in feed.items()}) for feed in feeds]
    return np.stack([real(outputs[0], runner.outputs[0]) for outputs in raw])


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str) -> None:
    wanted = NETWORKS[name]
    proto = getattr(networks, name)()
    graph = TfliteRuntime().prepare(normalise(proto))
    feeds = drawn(graph)
    plan = planned(graph, feeds)
    reference = np.stack([run(proto, **feed)[0] for feed in feeds])

    artifact = TfliteRuntime().emit(graph, plan, io_dtype="auto", layout="nchw")
    uses = operators(artifact.data)
    assert {use.name for use in uses if use.is_float} <= set(wanted.floats.split())
    assert sum(use.name == "TRANSPOSE" for use in uses) <= wanted.transposes
    measured = answers(artifact.data, feeds)
    assert measured.shape == reference.shape
    assert sqnr_db(reference, measured) >= wanted.sqnr_db

    everything = {node.name: NodePrecision("float32", "asked") for node in graph.nodes}
    exact = TfliteRuntime().emit(graph, msgspec.structs.replace(plan, nodes=everything), io_dtype="float32", layout="nchw")
    np.testing.assert_allclose(answers(exact.data, feeds), reference, rtol=0, atol=1e-4 * float(np.abs(reference).max()))


@pytest.mark.parametrize(("name", "axis", "boxes"), [("detector", 1, 4), ("grid_detector", 2, 4)])
@pytest.mark.parametrize("io_dtype", ["auto", "float32"])
def test_boxes_and_scores_are_both_precise(name: str, axis: int, boxes: int, io_dtype: str) -> None:
    proto = getattr(networks, name)()
    graph = TfliteRuntime().prepare(normalise(proto))
    feeds = drawn(graph)
    artifact = TfliteRuntime().emit(graph, planned(graph, feeds), io_dtype=io_dtype, layout="nchw")
    assert [spec.dtype for spec in artifact.outputs] == ["float32"]
    reference = np.stack([run(proto, **feed)[0] for feed in feeds])
    measured = answers(artifact.data, feeds)
    for part in (slice(0, boxes), slice(boxes, None)):
        at = (slice(None), *[slice(None)] * axis, part)
        assert sqnr_db(reference[at], measured[at]) > 30
