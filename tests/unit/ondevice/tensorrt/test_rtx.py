"""Against NVIDIA's own API: TensorRT for RTX parses and compiles without a GPU, and the double's names and arguments are held to it."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

from edgekit.ondevice.tensorrt import key
from tests.standin.board import standin_python
from tests.unit.ondevice.conftest import Agent

from .boards import Board
from .conftest import CHAIN, network

pytestmark = pytest.mark.tensorrt

ROOT = Path(__file__).resolve().parents[4]
Load = Callable[..., Any]


@pytest.fixture(scope="module")
def python() -> str:
    found = os.environ.get("EDGEKIT_TENSORRT_RTX_PYTHON")
    if not found:
        pytest.skip("set EDGEKIT_TENSORRT_RTX_PYTHON to an interpreter with tensorrt-rtx")
    return found


def asked(python: str, program: str, *words: str) -> Any:
    """Run a program there; its last line is JSON."""
    done = subprocess.run(
        [python, "-W", "ignore::DeprecationWarning", "-c", program, *words],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def checked(python: str, archive: Path, folder: Path, data: bytes) -> Agent:
    (folder / "model.onnx").write_bytes(data)
    return Agent(python, archive, folder / "root")


def fields(folder: Path) -> dict[str, str]:
    return {"onnx": str(folder / "model.onnx"), "module": "tensorrt_rtx", "typing": "strong"}


def test_a_network_that_is_taken(python: str, archive: Path, tmp_path: Path) -> None:
    found = checked(python, archive, tmp_path, CHAIN).ask("engine.check", **fields(tmp_path))
    assert (found["errors"], found["warnings"]) == ([], [])
    assert re.fullmatch(r"1\.\d+\.\d+\.\d+", found["version"])
    assert not (tmp_path / "root").exists()


REFUSED = {
    "an operator of nobody's": (network(("first", "Relu"), ("strange", "NoSuchOp"), domain="nobody"), "strange", "NoSuchOp"),
    "a convolution without weights": (network(("first", "Relu"), ("bare", "Conv"), ("last", "Relu")), "bare", "Conv"),
}


@pytest.mark.parametrize(("data", "node", "operator"), REFUSED.values(), ids=list(REFUSED))
def test_a_refused_node_is_named(python: str, archive: Path, tmp_path: Path, data: bytes, node: str, operator: str) -> None:
    (error,) = checked(python, archive, tmp_path, data).ask("engine.check", **fields(tmp_path))["errors"]
    assert (error["node"], error["op"]) == (node, operator)
    assert error["message"]


def test_what_is_no_network(python: str, archive: Path, tmp_path: Path) -> None:
    (error,) = checked(python, archive, tmp_path, b"not onnx").ask("engine.check", **fields(tmp_path))["errors"]
    assert error["node"] is None
    assert error["message"]


def test_open_dimensions(python: str, archive: Path, tmp_path: Path) -> None:
    agent = checked(python, archive, tmp_path, network(("only", "Relu"), shape=(-1, 4)))
    error = agent.refuse("engine.check", **fields(tmp_path))
    assert (error["kind"], "input 'x' has open dimensions [-1, 4]" in error["message"]) == ("input", True)


@pytest.mark.parametrize("field", ["onnx", "module", "typing"])
def test_hostile_fields(agent: Agent, tmp_path: Path, field: str) -> None:
    assert agent.refuse("engine.check", **{**fields(tmp_path), field: "../os"})["kind"] == "usage"


def test_a_package_that_is_not_there(agent: Agent, tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed")
    (tmp_path / "model.onnx").write_bytes(CHAIN)
    error = agent.refuse("engine.check", **{**fields(tmp_path), "module": "tensorrt"})
    assert (error["kind"], "tensorrt cannot be imported" in error["message"]) == ("runtime-missing", True)


BUILD = """
import json, sys
import tensorrt_rtx as trt
from edgekit.ondevice.tensorrt import adapter
from edgekit.ondevice.wire import AgentError
recipe = {"precision": "mixed", "workspace_mib": 64, "dla_core": json.loads(sys.argv[2]), "float32_nodes": ["middle"]}
profiles = json.loads(sys.argv[3])
steps = []
network = adapter.open_network(trt, sys.argv[1], "weak")
try:
    plan, timed, fallback = adapter.build(network, recipe, 64 << 20, b"", lambda *step: steps.append(step), profiles)
    told = {"plan": plan.nbytes, "written": len(bytes(plan)), "timed": len(timed), "fallback": fallback, "errors": list(network.log.errors)}
    _, again, _ = adapter.build(network, recipe, 64 << 20, timed, lambda *step: None, profiles)
    told["again"] = len(again)
except AgentError as error:
    told = {"kind": error.kind, "message": error.message}
print(json.dumps({**told, "weak": network.weak, "steps": steps, "warnings": network.log.warnings}))
"""


@pytest.mark.parametrize(("shape", "profiles"), [((1, 4), {}), ((-1, 4), {"x": [[1, 4], [2, 4], [8, 4]]})])
def test_an_engine_is_built(python: str, tmp_path: Path, shape: tuple[int, ...], profiles: dict[str, Any]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(network(("first", "Relu"), ("middle", "Sigmoid"), ("last", "Relu"), shape=shape))
    told = asked(python, BUILD, str(path), "null", json.dumps(profiles))
    assert told["plan"] == told["written"] > 1000
    assert (told["weak"], told["fallback"], told["errors"]) == (False, [], [])
    # Without a GPU nothing is timed, and what is read back serves nothing: TensorRT says so and builds all the same.
    assert told["timed"] == told["again"] > 0
    assert "timing cache" in " ".join(told["warnings"])
    assert ["build the engine", 0, 1] in told["steps"]
    assert any(stage == "Building engine" for stage, _, _ in told["steps"])
    assert all(0 <= done <= total for _, done, total in told["steps"])


def test_there_is_no_dla(python: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(CHAIN)
    told = asked(python, BUILD, str(path), "0", "{}")
    assert (told["kind"], told["message"].partition(";")[0]) == ("input", "DLA core 0 is asked for")


def test_the_builder_goes_as_far_as_an_engine_that_no_gpu_opens(python: str, archive: Path, tmp_path: Path) -> None:
    """All of `work` but its last step, with NVIDIA's own API under the name of the full package."""
    board = standin_python(tmp_path / "board", packages=(), trtexec=False, python=python)
    (tmp_path / "board" / "site" / "tensorrt.py").write_text("from tensorrt_rtx import *\nfrom tensorrt_rtx import __version__\n")
    there = Board(board, archive, tmp_path / "root")
    fields = there.fields()
    error = there.refuse("engine.build", **fields)
    assert error["kind"] == "runtime-failed"
    assert error["message"].startswith("the new engine cannot be opened: ")
    assert "CUDA driver version is insufficient" in error["message"]
    left = {path.name for path in (there.root / "engines" / (key.digest_of(fields["key"]) + ".work")).iterdir()}
    assert {"timing.cache", "build.log"} <= left
    assert "engine.plan" not in left


NAMES = """
import json, re
import tensorrt_rtx as trt
def arguments(method):
    found = re.search(r"\\((.*)\\) ->", (getattr(method, "__doc__", None) or "").partition("\\n")[0])
    return None if found is None else re.findall(r"(?:^|, )(\\w+): ", found.group(1))
print(json.dumps({
    name: {part: arguments(getattr(value, part)) for part in dir(value) if not part.startswith("_")}
    for name, value in vars(trt).items() if isinstance(value, type)
}))
"""

# Names of the double that TensorRT for RTX lacks, as `dir()` of the Python package tensorrt 8.6.0 has them.
OLDER = {
    "BuilderFlag": {"FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"},
    "ILayer": {"precision", "set_output_type"},
    "NetworkDefinitionCreationFlag": {"EXPLICIT_BATCH", "EXPLICIT_PRECISION"},
}
# Enumerations list their members; RTX's also have these.
MEMBER = ("name", "value")


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "11.1.0"])
def test_the_double_has_only_names_of_nvidias(python: str, tensorrt: Load, version: str) -> None:
    real = asked(python, NAMES)
    double = tensorrt(version)._build
    classes = {name: value for name, value in vars(double).items() if name in real and isinstance(value, type)}
    assert {"Builder", "IBuilderConfig", "OnnxParser", "ILayer", "ITimingCache", "IOptimizationProfile", "BuilderFlag"} <= set(classes)
    for name, value in classes.items():
        members = getattr(value, "__members__", None)
        parts = set(members) if members else {part for part in vars(value) if not part.startswith("_")}
        assert parts - OLDER.get(name, set()) <= set(real[name]), name
        for part in sorted(parts & set(real[name])):
            method, wanted = vars(value).get(part), real[name][part]
            if inspect.isfunction(method) and wanted is not None:
                assert list(inspect.signature(method).parameters) == wanted, f"{name}.{part}"


def test_every_name_the_adapter_uses_is_in_the_double(tensorrt: Load) -> None:
    """What the builder's part of the adapter asks ``trt`` for, in 8.5 to 11."""
    from edgekit.ondevice.tensorrt import adapter, check

    text = inspect.getsource(adapter) + inspect.getsource(check)
    used = set(re.findall(r"\btrt\.([A-Za-z]\w*)", text)) - {"__version__"}
    known = {name for version in ("8.6.1", "10.3.0", "11.1.0") for name in vars(tensorrt(version))}
    # Only TensorRT for RTX compiles for a GPU that it is told of.
    assert used - known == {"ComputeCapability"}
