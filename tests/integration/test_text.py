"""A real transformer in static INT8: MiniLM sentence embeddings and a linear head, on Banking77."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.graph import Array, Graph
from edgekit.plan import NodePrecision
from edgekit.quantize.balance import balance
from edgekit.quantize.calibrate import DEFAULT_METHOD, plan_from
from edgekit.quantize.normalise import normalise
from edgekit.quantize.observe import observe
from edgekit.runtimes.tflite import TfliteRuntime
from edgekit.runtimes.tflite.inspect import operators
from tests.integration.wordpiece import tokens

LENGTH, EVALUATED, CALIBRATED = 64, 500, 100


def network(model: Path, head: Path) -> onnx.ModelProto:
    proto = onnx.load(model)
    with np.load(head, allow_pickle=False) as held:
        constants = {"head.weight": held["W"], "head.bias": held["b"]}
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    proto.graph.node.append(helper.make_node("Gemm", [proto.graph.output[0].name, *constants], ["scores"], transB=1))
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", len(constants["head.bias"])]))
    return proto


def kept(graph: Graph) -> dict[str, NodePrecision]:
    found = TfliteRuntime().support(graph).items()
    return {name: NodePrecision("float32", one.why) for name, one in found if one.precision == "float32"}


@pytest.mark.models
@pytest.mark.slow
def test_int8_products_cost_minilm_next_to_nothing(shared_data: Path, made_data: Path) -> None:
    # 93.8 % before and after, 0.4 % disagree, 27.0 dB.
    from ai_edge_litert.interpreter import Interpreter
    from onnxruntime import InferenceSession

    rows = json.loads((shared_data / "sets" / "banking77_test_3080.json").read_text(encoding="utf-8"))
    others = np.random.default_rng(0).permutation(np.arange(EVALUATED, len(rows)))[:CALIBRATED]
    chosen = [*range(EVALUATED), *others.tolist()]
    ids, mask = tokens(shared_data / "models" / "all_minilm_l6_v2.tokenizer.json", [rows[n]["text"] for n in chosen], LENGTH)
    labels = np.array([rows[n]["label"] for n in range(EVALUATED)])

    def feed(row: int) -> dict[str, Array]:
        return {"input_ids": ids[row : row + 1], "attention_mask": mask[row : row + 1]}

    def samples() -> Iterator[dict[str, Array]]:
        return (feed(row) for row in range(EVALUATED, len(chosen)))

    proto = network(made_data / "models" / "all_minilm_l6_v2.onnx", shared_data / "models" / "minilm_banking77_linear_head.npz")
    runtime = TfliteRuntime()
    graph = runtime.prepare(normalise(proto, shapes={"input_ids": (1, LENGTH), "attention_mask": (1, LENGTH)}))
    reference_runner = InferenceSession(graph.to_onnx().SerializeToString(), providers=["CPUExecutionProvider"])
    graph = balance(graph, samples, set(kept(graph)))
    histograms = observe(graph, samples(), total=CALIBRATED)
    plan = plan_from(graph, histograms, total=CALIBRATED, method=DEFAULT_METHOD, dataset_sha256=None, nodes=kept(graph))
    data = runtime.emit(graph, plan, io_dtype="float32", layout="nhwc").data

    uses = operators(data)
    products = [use for use in uses if use.name in ("FULLY_CONNECTED", "BATCH_MATMUL")]
    assert len(products) >= 49
    assert not [use for use in products if use.is_float]
    assert len(data) < 0.27 * 90e6

    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    places = {entry["name"]: entry["index"] for entry in interpreter.get_input_details()}
    references, measured = [], []
    for row in range(EVALUATED):
        for name, value in feed(row).items():
            interpreter.set_tensor(places[name], value.astype(np.int32))
        interpreter.invoke()
        measured.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].copy())
        references.append(reference_runner.run(None, feed(row))[0][0])
    wanted, got = np.stack(references), np.stack(measured)
    assert (got.argmax(1) == labels).mean() >= 0.934
    assert (got.argmax(1) != wanted.argmax(1)).mean() <= 0.006
    assert 10 * np.log10(float((wanted**2).sum() / ((wanted - got) ** 2).sum())) > 26
