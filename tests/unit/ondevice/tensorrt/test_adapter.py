"""The adapter against a double of each generation of TensorRT's API; against NVIDIA's own in `test_rtx`."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import pytest

from edgekit.ondevice.tensorrt import adapter
from edgekit.ondevice.tensorrt.key import typing_of
from edgekit.ondevice.wire import AgentError

from .conftest import CHAIN, VERSIONS, network

Load = Callable[..., Any]
RECIPE: dict[str, Any] = {"precision": "mixed", "workspace_mib": None, "dla_core": None, "float32_nodes": []}
MAGIC = b"STANDIN-ENGINE\n"


def opened(trt: Any, folder: Path, data: bytes = CHAIN, typing: str | None = None) -> adapter.Network:
    path = folder / "model.onnx"
    path.write_bytes(data)
    return adapter.open_network(trt, str(path), typing or typing_of(trt.__version__))


def built(trt: Any, folder: Path, data: bytes = CHAIN, typing: str | None = None, **recipe: Any) -> dict[str, Any]:
    """What the builder was told."""
    network = opened(trt, folder, data, typing)
    assert network.errors == []
    plan, _, fallback = adapter.build(network, {**RECIPE, **recipe}, None, b"", lambda *_: None, {})
    assert plan.startswith(MAGIC)
    told: dict[str, Any] = json.loads(plan[len(MAGIC) :].partition(b"\n")[0].decode())
    return {**told, "fallback": fallback}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("precision", "flags"), [("int8", ["INT8"]), ("fp16", ["FP16"]), ("mixed", ["FP16", "INT8"])])
def test_flags_where_networks_are_typed_weakly(tensorrt: Load, tmp_path: Path, version: str, precision: str, flags: list[str]) -> None:
    weak = not version.startswith("11")
    told = built(tensorrt(version), tmp_path, precision=precision)
    assert (told["precision"], told["typing"]) == ((flags, "weak") if weak else ([], "strong"))
    assert told["detailed"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("precision", "held"), [("int8", []), ("fp16", ["middle"]), ("mixed", ["middle"])])
def test_nodes_held_to_float32(tensorrt: Load, tmp_path: Path, version: str, precision: str, held: list[str]) -> None:
    told = built(tensorrt(version), tmp_path, precision=precision, float32_nodes=["middle", "gone"])
    expected = [] if version.startswith("11") else held
    assert told["float32"] == expected
    assert ("OBEY_PRECISION_CONSTRAINTS" in told["flags"]) == bool(expected)


def test_a_strongly_typed_file_where_networks_may_be_weak(tensorrt: Load, tmp_path: Path) -> None:
    told = built(tensorrt("10.3.0"), tmp_path, typing="strong")
    assert (told["typing"], told["precision"]) == ("strong", [])


def test_a_strongly_typed_file_where_there_is_no_such_network(tensorrt: Load, tmp_path: Path) -> None:
    with pytest.raises(AgentError, match=r"TensorRT 8\.6\.1 has no strongly typed networks"):
        opened(tensorrt("8.6.1"), tmp_path, typing="strong")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refused_node_is_named(tensorrt: Load, tmp_path: Path, version: str) -> None:
    (error,) = opened(tensorrt(version, REFUSE="Sigmoid"), tmp_path).errors
    assert (error["node"], error["op"]) == ("middle", "Sigmoid")
    assert "it is refused" in str(error["message"])
    raised = adapter.refused(error, version)
    assert raised.message.startswith(f"TensorRT {version} does not build it at node middle (Sigmoid): ")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_no_network(tensorrt: Load, tmp_path: Path, version: str) -> None:
    (error,) = opened(tensorrt(version), tmp_path, b"not onnx").errors
    assert error["node"] is None
    assert "Failed to parse ONNX model from file" in str(error["message"])


def test_open_dimensions_need_a_profile(tensorrt: Load, tmp_path: Path) -> None:
    data = network(("only", "Relu"), shape=(-1, 4))
    with pytest.raises(AgentError, match=r"input 'x' has open dimensions \[-1, 4\]") as caught:
        built(tensorrt("10.3.0"), tmp_path, data)
    assert caught.value.kind == "input"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_profile(tensorrt: Load, tmp_path: Path, version: str) -> None:
    found = opened(tensorrt(version), tmp_path, network(("only", "Relu"), shape=(-1, 4)))
    plan, _, _ = adapter.build(found, RECIPE, 1 << 20, b"", lambda *_: None, {"x": ((1, 4), (2, 4), (8, 4))})
    assert json.loads(plan[len(MAGIC) :].partition(b"\n")[0].decode())["workspace_bytes"] == 1 << 20


def test_a_dla_takes_what_it_can(tensorrt: Load, tmp_path: Path) -> None:
    told = built(tensorrt("8.5.2", DLA_CORES="2"), tmp_path, dla_core=1)
    assert (told["dla_core"], told["fallback"]) == (1, ["middle"])
    assert "GPU_FALLBACK" in told["flags"]


def test_a_dla_that_takes_nothing_is_told_of(tensorrt: Load, tmp_path: Path) -> None:
    found = opened(tensorrt("8.5.2", DLA_CORES="1"), tmp_path, network(("only", "Sigmoid")))
    assert adapter.build(found, {**RECIPE, "dla_core": 0}, None, b"", lambda *_: None, {})[2] == ["only"]
    assert "DLA core 0 takes no layer of this network" in found.log.warnings[0]


@pytest.mark.parametrize("cores", ["0", "1"])
def test_a_dla_that_is_not_there(tensorrt: Load, tmp_path: Path, cores: str) -> None:
    with pytest.raises(AgentError, match=rf"DLA core 1 is asked for; TensorRT 10\.3\.0 finds {cores} here"):
        built(tensorrt("10.3.0", DLA_CORES=cores), tmp_path, dla_core=1)


def test_timings_are_carried_on(tensorrt: Load, tmp_path: Path) -> None:
    found = opened(tensorrt("8.6.1", JOURNAL=str(tmp_path / "journal")), tmp_path)
    timed = adapter.build(found, RECIPE, None, b"", lambda *_: None, {})[1]
    again = opened(found.trt, tmp_path)
    adapter.build(again, RECIPE, None, timed, lambda *_: None, {})
    assert [json.loads(line)["timed"] for line in (tmp_path / "journal").read_text().splitlines()] == [0, 3]
    assert again.log.warnings == []


@pytest.mark.parametrize("data", [b"garbage", b'STANDIN-TIMING\n{"tensorrt": "8.5.2", "layers": ["first"]}'])
def test_timings_of_another_release_are_left(tensorrt: Load, tmp_path: Path, data: bytes) -> None:
    found = opened(tensorrt("8.6.1", JOURNAL=str(tmp_path / "journal")), tmp_path)
    plan, _, _ = adapter.build(found, RECIPE, None, data, lambda *_: None, {})
    assert plan is not None
    assert json.loads((tmp_path / "journal").read_text())["timed"] == 0
    assert "does not take the timing cache" in found.log.warnings[0]


@pytest.mark.parametrize(("version", "phase"), [("8.6.1", False), ("10.3.0", True)])
def test_progress(tensorrt: Load, tmp_path: Path, version: str, phase: bool) -> None:
    told: list[Any] = []
    adapter.build(opened(tensorrt(version), tmp_path), RECIPE, None, b"", lambda *step: told.append(step), {})
    assert ("build the engine", 0, 1) in told
    assert (("Building engine", 2, 2) in told) is phase


def test_what_the_builder_says_when_it_fails(tensorrt: Load, tmp_path: Path) -> None:
    found = opened(tensorrt("10.3.0", FAIL="Error Code 1: Cuda Runtime (out of memory)"), tmp_path)
    plan, timed, _ = adapter.build(found, RECIPE, None, b"", lambda *_: None, {})
    assert plan is None
    assert timed
    message = str(adapter.explain(found.log.errors)["message"])
    assert message.startswith("Error Code 1: Cuda Runtime (out of memory)")
    assert adapter.MEMORY_FIX in message


def test_too_old_a_tensorrt() -> None:
    old = SimpleNamespace(__version__="8.4.1.5", ICudaEngine=object, Builder=object)
    with pytest.raises(AgentError, match=r"TensorRT 8\.4\.1\.5 is too old: 8\.5 \(JetPack 5\.1\) or newer is needed"):
        adapter.load(old)


# Lines that TensorRT printed for people who published them (GitHub: issues and notes on trtexec 8.2 to 10.16; shortened).
SAID = [
    (
        ['ModelImporter.cpp:791: While parsing node number 0 [Identity -> "onnx::QuantizeLinear_491"]:', "[6] Invalid Node - Identity_0"],
        ("Identity_0", "Identity"),
        'ModelImporter.cpp:791: While parsing node number 0 [Identity -> "onnx::QuantizeLinear_491"]:; [6] Invalid Node - Identity_0',
    ),
    (
        [
            'ModelImporter.cpp:138: While parsing node number 103 [Where -> "/sam_prompt_encoder/Where_6_output_0"]:',
            "ModelImporter.cpp:149: ERROR: ModelImporter.cpp:506 In function parseNode:",
            "Failed to parse onnx file",
            "Engine set up failed",
        ],
        ("/sam_prompt_encoder/Where_6_output_0", "Where"),
        'ModelImporter.cpp:138: While parsing node number 103 [Where -> "/sam_prompt_encoder/Where_6_output_0"]:',
    ),
    (
        [
            "Error[10]: Could not find any implementation for node {ForeignNode[(Unnamed Layer* 56) [Constant].../MatMul]}.",
            "Engine could not be created from network",
            "Building engine failed",
        ],
        ("ForeignNode[(Unnamed Layer* 56) [Constant].../MatMul]", None),
        "Error[10]: Could not find any implementation for node {ForeignNode[(Unnamed Layer* 56) [Constant].../MatMul]}.",
    ),
    (
        ["ITensor::getDimensions: Error Code 4: API Usage Error (/Sub: ElementWiseOperation SUB must have same input types.)"],
        ("/Sub", None),
        "ITensor::getDimensions: Error Code 4: API Usage Error (/Sub: ElementWiseOperation SUB must have same input types.)",
    ),
    ([], (None, None), "TensorRT does not say why"),
]


@pytest.mark.parametrize(("lines", "where", "message"), SAID, ids=range(len(SAID)))
def test_what_tensorrt_said(lines: list[str], where: tuple[str | None, str | None], message: str) -> None:
    found = adapter.explain(lines)
    assert ((found["node"], found["op"]), found["message"]) == (where, message)


def test_a_builder_that_a_signal_ended() -> None:
    assert "memory ran out" in adapter.died(9, []).message
    assert adapter.died(11, ["the last words"]).message == "the builder was killed by signal 11: the last words"
