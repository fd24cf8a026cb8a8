"""Every operator case: emitted in both precisions, run with and without XNNPACK, and held against float."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edgekit.errors import BuildError
from edgekit.graph import Array, Graph
from edgekit.plan import NodePrecision
from edgekit.runtimes import Artifact
from edgekit.runtimes.tflite import TfliteRuntime
from edgekit.runtimes.tflite.inspect import operators
from edgekit.runtimes.tflite.table import OPERATORS
from tests.unit.quantize.networks import needs_onnxruntime
from tests.unit.runtimes.tflite.cases import Case, all_cases
from tests.unit.runtimes.tflite.emitting import Runner, float_session, minmax_plan, real, sqnr_db

CASES = all_cases()
EMITTED = {name: case for name, case in CASES.items() if not case.refused}
REFUSED = {name: case for name, case in CASES.items() if case.refused}
CHANNELS_LAST, CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)

xnnpack_or_not = pytest.mark.parametrize("xnnpack", [True, False], ids=["xnnpack", "builtin"])
emitted = pytest.mark.parametrize("case", EMITTED.values(), ids=EMITTED.keys())


def to_file(value: Array, artifact: Artifact, name: str) -> Array:
    """From the order of the ONNX model to the artifact's."""
    return np.ascontiguousarray(value.transpose(CHANNELS_LAST)) if artifact.layouts[name] == "nhwc" else value


def compared(case: Case, graph: Graph, artifact: Artifact, *, xnnpack: bool) -> list[tuple[Array, Array]]:
    """Return (reference, measured) of every output over all samples; the float model sees the same quantized inputs."""
    if case.onnxruntime_1_23:
        needs_onnxruntime((1, 24), case.onnxruntime_1_23)
    runner, session = Runner(artifact.data, xnnpack=xnnpack), float_session(graph)
    found: list[tuple[list[Array], list[Array]]] = [([], []) for _ in graph.outputs]
    for sample in case.feeds():
        raw, seen = {}, {}
        for name, value in sample.items():
            turned = artifact.layouts[name] == "nhwc" and not case.channels_last
            raw[name] = runner.quantize(value.transpose(CHANNELS_LAST) if turned else value, name)
            given = real(raw[name], runner.inputs[name]).astype(value.dtype)
            seen[name] = given.transpose(CHANNELS_FIRST) if turned else given
        references = session.run(None, seen)
        for pairs, spec, reference, got, entry in zip(found, graph.outputs, references, runner.run(raw), runner.outputs, strict=True):
            pairs[0].append(to_file(reference, artifact, spec.name))
            pairs[1].append(real(got, entry))
            assert pairs[0][-1].shape == pairs[1][-1].shape
    return [(np.stack(references), np.stack(measured)) for references, measured in found]


@xnnpack_or_not
@emitted
def test_int8(case: Case, xnnpack: bool) -> None:
    """In int8, but for the nodes that the case says are float."""
    graph = case.graph()
    plan = minmax_plan(graph, case.feeds())
    assert sorted({node.op for node in graph.nodes if node.name in plan.nodes}) == sorted(case.float_nodes)
    artifact = TfliteRuntime().emit(graph, plan, io_dtype="int8", layout="nhwc")
    uses = operators(artifact.data)
    assert not case.operators or [use.name for use in uses] == list(case.operators)
    if not case.float_nodes:
        assert not [use for use in uses if use.is_float]
    for reference, measured in compared(case, graph, artifact, xnnpack=xnnpack):
        if measured.dtype == np.float32:
            assert sqnr_db(reference, measured) >= case.sqnr_db
        else:
            assert (reference == measured).mean() >= case.agreement


@xnnpack_or_not
@emitted
def test_float(case: Case, xnnpack: bool) -> None:
    graph = case.graph()
    plan = minmax_plan(graph, case.feeds())
    everything = {node.name: NodePrecision("float32", "asked") for node in graph.nodes}
    artifact = TfliteRuntime().emit(graph, msgspec.structs.replace(plan, nodes=everything), io_dtype="float32", layout="nhwc")
    assert not [use for use in operators(artifact.data) if "int8" in (*use.inputs, *use.outputs)]
    for reference, measured in compared(case, graph, artifact, xnnpack=xnnpack):
        if measured.dtype == np.float32:
            np.testing.assert_allclose(measured, reference, rtol=0, atol=case.relative * float(np.abs(reference).max()))
        else:
            np.testing.assert_array_equal(measured, reference)


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_refused(case: Case) -> None:
    graph = case.graph()
    impossible = {name for name, one in TfliteRuntime().support(graph).items() if one.precision is None}
    with pytest.raises(BuildError) as caught:
        TfliteRuntime().emit(graph, minmax_plan(graph, case.feeds()), io_dtype="int8", layout="nhwc")
    assert case.refused in caught.value.message
    assert impossible
    assert all(f"node {node.name!r} ({node.op}): " in caught.value.message for node in graph.nodes if node.name in impossible)
    assert caught.value.fix


def test_every_operator_has_a_case() -> None:
    written = " ".join(case.body for case in CASES.values())
    assert [name for name in OPERATORS if f" {name}(" not in written and f" {name}<" not in written] == []
