"""Every operator case: emitted, run with and without XNNPACK, and held against float."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import BuildError
from edgekit.graph import Array
from edgekit.runtimes.tflite import TfliteRuntime
from edgekit.runtimes.tflite.emit import OPERATORS
from edgekit.runtimes.tflite.inspect import operators
from tests.unit.runtimes.tflite.cases import Case, all_cases
from tests.unit.runtimes.tflite.emitting import Runner, float_session, minmax_plan, sqnr_db

CASES = all_cases()
EMITTED = {name: case for name, case in CASES.items() if not case.refused}
REFUSED = {name: case for name, case in CASES.items() if case.refused}


def to_file(value: Array) -> Array:
    """NCHW, as ONNX has it, to the artifact's NHWC."""
    return value.transpose(0, 2, 3, 1) if value.ndim == 4 else value


@pytest.mark.parametrize("xnnpack", [True, False], ids=["xnnpack", "builtin"])
@pytest.mark.parametrize("case", EMITTED.values(), ids=EMITTED.keys())
def test_case(case: Case, xnnpack: bool) -> None:
    graph, samples = case.graph(), case.samples()
    artifact = TfliteRuntime().emit(graph, minmax_plan(graph, samples), io_dtype="int8", layout="nhwc")
    uses = operators(artifact.data)
    assert [use.name for use in uses] == list(case.operators)
    assert not [use for use in uses if use.is_float]
    runner = Runner(artifact.data, xnnpack=xnnpack)
    session = float_session(graph)
    (entry,) = graph.inputs
    scale, zero_point = runner.input["quantization"]
    references, measured = [], []
    for sample in samples:
        turned = sample.ndim == 4 and not case.channels_last
        raw = runner.quantize(to_file(sample) if turned else sample)
        seen = (scale * (raw.astype(np.float32) - zero_point)).astype(np.float32)
        fed = seen.transpose(0, 3, 1, 2) if turned else seen
        (reference,) = session.run([case.outputs[0]], {entry.name: fed})
        references.append(to_file(reference))
        measured.append(runner.real(raw))
        assert measured[-1].shape == references[-1].shape
    assert sqnr_db(np.stack(references), np.stack(measured)) >= case.sqnr_db


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_refused(case: Case) -> None:
    graph = case.graph()
    with pytest.raises(BuildError) as caught:
        TfliteRuntime().emit(graph, minmax_plan(graph, case.samples()), io_dtype="int8", layout="nhwc")
    assert case.refused in caught.value.message
    assert any(f"node {node.name!r} ({node.op}): " in caught.value.message for node in graph.nodes)
    assert caught.value.fix


def test_every_operator_has_a_case() -> None:
    written = " ".join(case.body for case in CASES.values())
    assert [name for name in OPERATORS if f" {name}(" not in written and f" {name}<" not in written] == []
