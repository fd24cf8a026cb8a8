"""What the file's inputs and outputs are where nobody says: what the network itself takes and makes."""

from __future__ import annotations

import msgspec
import numpy as np

from edgekit.graph import Graph
from edgekit.plan import NodePrecision, QuantPlan
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.head import mixed_outputs
from edgekit.quantize.normalise import normalise
from edgekit.runtimes.tflite import TfliteRuntime
from edgekit.runtimes.tflite.inspect import operators
from tests.unit.quantize.networks import model, normal
from tests.unit.runtimes.tflite.emitting import Runner, float_session, sqnr_db

HEAD = """
    b = Conv<pads=[1,1,1,1]>(x, w) k = Constant<value_float=200.0>() boxes = Mul(b, k)
    s = Conv<pads=[1,1,1,1]>(x, v) scores = Sigmoid(s)
    joined = Concat<axis=1>(boxes, scores)
    shape = Constant<value_ints=[1, 7, 64]>() y = Reshape(joined, shape)
"""
SAMPLES = [normal(1, 4, 8, 8, scale=1.0) for _ in range(16)]


def head() -> tuple[Graph, QuantPlan]:
    graph = normalise(model(HEAD, w=normal(4, 4, 3, 3), v=normal(3, 4, 3, 3)))
    plan = calibrate(graph, ({"x": x} for x in SAMPLES), total=len(SAMPLES), dataset_sha256=None)
    nodes = {name: NodePrecision("float32", why) for name, why in mixed_outputs(graph, plan.ranges).items()}
    assert {graph.producers[name].name for name in ("joined", "y")} == set(nodes)
    return graph, msgspec.structs.replace(plan, nodes=nodes)


def test_parts_of_an_output_with_different_units_keep_their_own_scales() -> None:
    graph, plan = head()
    artifact = TfliteRuntime().emit(graph, plan, io_dtype="auto", layout="nhwc")
    assert ([spec.dtype for spec in artifact.inputs], [spec.dtype for spec in artifact.outputs]) == (["int8"], ["float32"])
    assert [use.name for use in operators(artifact.data) if use.name in ("CONV_2D", "LOGISTIC") and use.is_float] == []
    runner, session = Runner(artifact.data), float_session(graph)
    scale, zero_point = runner.input["quantization"]
    wanted, got = [], []
    for x in SAMPLES:
        raw = runner.quantize(x.transpose(0, 2, 3, 1))
        seen = (scale * (raw.astype(np.float32) - zero_point)).astype(np.float32).transpose(0, 3, 1, 2)
        wanted.append(session.run(["y"], {"x": seen})[0])
        got.append(runner.real(raw))
    want, have = np.concatenate(wanted), np.concatenate(got)
    assert sqnr_db(want[:, :4], have[:, :4]) > 35
    assert sqnr_db(want[:, 4:], have[:, 4:]) > 35


def test_on_one_scale_the_scores_would_be_lost() -> None:
    graph, plan = head()
    artifact = TfliteRuntime().emit(graph, plan, io_dtype="int8", layout="nhwc")
    (output,) = Runner(artifact.data).outputs
    assert output["dtype"] == np.int8
    assert output["quantization"][0] > 1.0


def test_a_network_in_int8_has_an_int8_border() -> None:
    graph, plan = head()
    artifact = TfliteRuntime().emit(graph, msgspec.structs.replace(plan, nodes={}), io_dtype="auto", layout="nhwc")
    assert {spec.dtype for spec in (*artifact.inputs, *artifact.outputs)} == {"int8"}


def test_a_first_layer_in_float_takes_float() -> None:
    graph, plan = head()
    readers = {node.name: NodePrecision("float32", "kept") for node in graph.consumers["x"]}
    artifact = TfliteRuntime().emit(graph, msgspec.structs.replace(plan, nodes={**plan.nodes, **readers}), io_dtype="auto", layout="nhwc")
    assert [spec.dtype for spec in artifact.inputs] == ["float32"]
