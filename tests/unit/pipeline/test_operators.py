"""What is said of a model's nodes before it is built, and that the emitter keeps that word."""

from __future__ import annotations

from pathlib import Path

import msgspec
import onnx
import pytest

from edgekit import lazy
from edgekit.errors import BuildError
from edgekit.operations import Operation
from edgekit.pipeline.operators import operations
from edgekit.pipeline.prepare import prepare
from edgekit.plan import NodePrecision, QuantPlan
from edgekit.project import Project
from edgekit.runtimes import RUNTIMES, Runtime
from edgekit.target import load_target
from tests.unit.quantize.networks import model, normal
from tests.unit.runtimes.tflite.cases import all_cases
from tests.unit.runtimes.tflite.emitting import minmax_plan

TARGETS = ["rpi4", "edge-x86"]
# What a build reads has a batch of 1.
CASES = {name: case for name, case in all_cases().items() if all(shape[:1] == (1,) for shape in case.inputs.values())}


def judged(folder: Path, proto: onnx.ModelProto, target: str = "rpi4") -> list[Operation]:
    onnx.save(onnx.shape_inference.infer_shapes(proto), folder / "net.onnx")
    return list(operations(Project(), load_target(target), model_path=folder / "net.onnx"))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", CASES)
def test_the_emitter_keeps_its_word(name: str, target: str, tmp_path: Path) -> None:
    """Of every operator case: nothing is said to be supported that is then refused, and nothing refused that would work."""
    case = CASES[name]
    proto = case.graph().to_onnx()
    found = judged(tmp_path, proto, target)
    runtime: Runtime = lazy.load(RUNTIMES[load_target(target).runtime])()
    graph = prepare(proto, Project(), runtime)
    assert [one.name for one in found] == [node.name for node in graph.nodes]
    kept = {one.name: NodePrecision("float32", one.why) for one in found if one.precision == "float32"}
    plan: QuantPlan = msgspec.structs.replace(minmax_plan(graph, case.feeds()), nodes=kept, scheme=runtime.scheme)
    impossible = [one for one in found if one.precision is None]
    assert all(one.why and one.fix for one in impossible)
    assert all(one.why for one in found if one.precision != "int8")
    if impossible:
        with pytest.raises(BuildError):
            runtime.emit(graph, plan, io_dtype=runtime.io_dtype, layout=runtime.layout)
    else:
        assert runtime.emit(graph, plan, io_dtype=runtime.io_dtype, layout=runtime.layout).data


def test_nodes_come_with_their_costs(tmp_path: Path) -> None:
    proto = model("c = Conv(x, w) s = Sin(c) f = Flatten(s) y = Gemm(f, v)", w=normal(6, 4, 3, 3), v=normal(216, 10))
    found = {one.op: one for one in judged(tmp_path, proto)}
    assert (found["Conv"].precision, found["Conv"].macs) == ("int8", 36 * 6 * 36)
    assert (found["Gemm"].precision, found["Gemm"].macs) == ("int8", 2160)
    assert (found["Sin"].macs, found["Conv"].why) == (0, "")
