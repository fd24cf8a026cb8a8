"""``restate``: other words, the same values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnxruntime
import pytest

from edgekit.graph import Array, Graph
from edgekit.runtimes.tflite import TfliteRuntime
from edgekit.runtimes.tflite.unroll import STEPS_MAX
from tests.unit.runtimes.tflite.cases import Case, all_cases
from tests.unit.runtimes.tflite.emitting import float_session

RESTATED = {name: case for name, case in all_cases().items() if case.normalised and not case.refused}
RECURRENT = {"GRU": 3, "LSTM": 4, "RNN": 1}
HIDDEN, DEPTH, STEPS = 5, 4, 4


def same(case: Case) -> Graph:
    """Return the restated graph, held to the model as it was written."""
    proto = case.typed()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    graph = case.graph()
    restated = float_session(graph)
    for feed in case.feeds()[:2]:
        compare(session.run(None, feed), restated.run(None, feed))
    return graph


def compare(wanted: list[Array], got: list[Array]) -> None:
    for one, other in zip(wanted, got, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-5 * float(np.abs(one).max()))


@pytest.mark.parametrize("case", RESTATED.values(), ids=RESTATED.keys())
def test_cases_that_a_build_rewrites(case: Case) -> None:
    same(case)


def recurrent(op: str, attributes: str = "", *, both: bool = False, bias: bool = True, state: bool = False, steps: int = STEPS) -> Case:
    rows, directions = RECURRENT[op] * HIDDEN, 2 if both else 1
    weights: dict[str, tuple[int, ...]] = {"w": (directions, rows, DEPTH), "r": (directions, rows, HIDDEN)}
    inputs: dict[str, tuple[int, ...]] = {"x": (1, steps, DEPTH)}
    optional = ["", "", ""]
    body = "t = Transpose<perm=[1,0,2]>(x) "
    if bias:
        weights["b"], optional[0] = (directions, 2 * rows), "b"
    if state:
        inputs["hs"], optional[2] = (1, directions, HIDDEN), "h"
        body += "h = Transpose<perm=[1,0,2]>(hs) "
    if state and op == "LSTM":
        inputs["cs"] = (1, directions, HIDDEN)
        optional.append("c")
        body += "c = Transpose<perm=[1,0,2]>(cs) "
    outputs = ("y", "yh", "yc") if op == "LSTM" else ("y", "yh")
    attributes = ", ".join(filter(None, [f"hidden_size={HIDDEN}", 'direction="bidirectional"' if both else "", attributes]))
    body += f"{', '.join(outputs)} = {op}<{attributes}>({', '.join(['t', 'w', 'r', *optional]).rstrip(', ')})"
    return Case(name=body, inputs=inputs, weights=weights, body=body, outputs=outputs, normalised=True)


@pytest.mark.parametrize("state", [False, True], ids=["from zeros", "from a state"])
@pytest.mark.parametrize("bias", [False, True], ids=["without bias", "with bias"])
@pytest.mark.parametrize("both", [False, True], ids=["forward", "both ways"])
@pytest.mark.parametrize("op", RECURRENT)
def test_recurrent_layers(op: str, both: bool, bias: bool, state: bool) -> None:
    assert not set(RECURRENT) & {node.op for node in same(recurrent(op, both=both, bias=bias, state=state)).nodes}


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("GRU", "linear_before_reset=1"),
        ("GRU", 'linear_before_reset=1, direction="reverse"'),
        ("LSTM", 'direction="reverse"'),
        ("LSTM", 'activations=["Sigmoid","Tanh","Relu"]'),
        ("RNN", 'activations=["Relu"]'),
    ],
)
def test_their_variants(op: str, attributes: str) -> None:
    for state in (False, True):
        assert not set(RECURRENT) & {node.op for node in same(recurrent(op, attributes, state=state)).nodes}


@pytest.mark.parametrize("op", RECURRENT)
def test_one_step(op: str) -> None:
    assert not set(RECURRENT) & {node.op for node in same(recurrent(op, both=True, steps=1)).nodes}


def test_the_weights_of_the_state_are_there_once() -> None:
    graph = recurrent("LSTM").graph()
    shapes = Counter(array.shape for array in graph.weights.values())
    assert shapes[HIDDEN, 3 * HIDDEN] == shapes[HIDDEN, HIDDEN] == 1


REFUSED: Mapping[str, tuple[Case, str]] = {
    "too long": (recurrent("GRU", steps=STEPS_MAX + 1), "steps"),
    "other activations": (recurrent("RNN", 'activations=["Softsign"]'), "Softsign"),
    "a clip": (recurrent("RNN", "clip=1.0"), "a clip"),
}


@pytest.mark.parametrize(("case", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_unrolled_is_named(case: Case, words: str) -> None:
    graph = case.graph()
    (found,) = [one for node, one in TfliteRuntime().support(graph).items() if graph.producers["y"].name == node]
    assert found.precision is None
    assert words in found.why
    assert found.fix
