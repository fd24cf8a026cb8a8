"""Boards that this machine emulates: the whole line on each, with INT8 outputs that equal the host's bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.devices import connect
from edgekit.inventory import find_device
from edgekit.project import Project
from edgekit.virtual import home
from tests.integration.command import edgekit
from tests.integration.test_line import copy_demo
from tests.integration.virtual import bring_up

pytestmark = [pytest.mark.arm64, pytest.mark.slow]

_SLOW_S = 600  # emulated, beside other tests

Up = Callable[[str], dict[str, Any]]


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Up]:
    yield lambda target: bring_up(target, monkeypatch, tmp_path)
    edgekit("virtual", "down", "--all", cwd=tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The demo, which names no device."""
    folder = copy_demo(tmp_path / "project")
    toml = folder / "edgekit.toml"
    toml.write_text(toml.read_text().replace('dataset = "evaluation.npz"', 'dataset = "evaluation.npz"\nsamples = 100'))
    return folder


def deploy(target: str, project: Path, name: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Build for a target, set its virtual board up and deploy there; returns what each said."""
    built = edgekit("build", "--target", target, "--json", cwd=project, timeout_s=_SLOW_S)
    assert built.code in (0, 8), built  # 8: so few samples may prove nothing
    setup = edgekit("device", "setup", name, "--json", cwd=project, timeout_s=_SLOW_S)
    if "cannot be fetched" in setup.err or "did not arrive" in setup.err:
        pytest.skip(f"no wheels here: {setup.err}")
    deployed = edgekit("deploy", name, "--json", cwd=project, timeout_s=_SLOW_S)
    assert deployed.code == 0, deployed
    return built.document, setup.document["facts"], deployed.document


def measured(built: dict[str, Any], project: Path, name: str) -> None:
    """Check that the board scores what the host has scored."""
    accuracy = edgekit("probe", "accuracy", name, "--json", cwd=project, timeout_s=_SLOW_S)
    assert accuracy.code in (0, 8), accuracy
    assert accuracy.document["report"]["simulated"] is True
    board, host = ({m["name"]: m["value"] for m in report["measurements"]} for report in (accuracy.document["report"], built["report"]))
    for name in ("top1_float", "top1_artifact", "disagreement"):
        assert board[name] == host[name], name


_ANSWERS = """
import hashlib, os, sys
sys.path.insert(0, os.path.expanduser("~/.edgekit/runtimes/current"))
import numpy
try:
    from tflite_runtime import interpreter as runtime
except ImportError:
    from ai_edge_litert import interpreter as runtime
model = runtime.Interpreter(
    os.path.expanduser(sys.argv[1]), num_threads=1, experimental_op_resolver_type=getattr(runtime.OpResolverType, sys.argv[2])
)
model.allocate_tensors()
(given,), (asked,) = model.get_input_details(), model.get_output_details()
assert given["dtype"] == asked["dtype"] == numpy.int8
digest = hashlib.sha256()
for number in range(32):
    values = numpy.random.RandomState(number).randint(-128, 128, given["shape"], numpy.int8)  # else as wide as the machine
    model.set_tensor(given["index"], values)
    model.invoke()
    digest.update(model.get_tensor(asked["index"]).tobytes())
print(digest.hexdigest())
"""


def answers_there(name: str, kernels: str) -> str:
    """Return a digest of what the deployed model answers to 32 random inputs."""
    device = find_device(Project(), name)
    model = "~/.edgekit/apps/meter-digits/current/model.tflite"
    with connect(device) as connection:
        done = connection.run(["python3", "-c", _ANSWERS, model, kernels], timeout_s=120)
    assert done.rc == 0, done.stderr
    return done.stdout.decode().strip()


def answers_here(built: dict[str, Any], kernels: str, folder: Path, python: str = sys.executable) -> str:
    """Return the same digest of this machine's answers."""
    with tarfile.open(built["bundle"]) as bundle:
        bundle.extract("model.tflite", folder)
    words = [python, "-c", _ANSWERS, str(folder / "model.tflite"), kernels]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout.strip()


@pytest.mark.parametrize(
    ("target", "cpu", "model"),
    [
        pytest.param("rpi4", "Cortex-A72", "Raspberry Pi 4 Model B (emulated)", id="rpi4"),
        pytest.param("rpi5", "Cortex-A76", "Raspberry Pi 5 Model B (emulated)", id="rpi5"),
    ],
)
def test_the_whole_way(up: Up, project: Path, target: str, cpu: str, model: str) -> None:
    board = up(target)
    built, facts, deployed = deploy(target, project, board["name"])
    assert (facts["machine"], facts["cpu"], facts["board"]) == ("aarch64", cpu, model)
    assert ("asimddp" in facts["cpu_features"]) is (target == "rpi5"), "the A76 has the dot product, with kernels of its own"
    assert (facts["python"][:5], facts["glibc"]) == ("3.11.", "2.36")
    assert facts["simulated"] is True, "nobody says so but the emulator's own traces"
    (runtime,) = facts["runtimes"]
    assert (runtime["name"], runtime["lock"][:26], runtime["error"]) == ("ai-edge-litert", "litert-2.3.0-cp311-aarch64", None)
    assert deployed["golden"]["max_diff"] == 0, "XNNPACK computes on Arm what it computes on x86, to the last bit"
    assert 0 < deployed["bytes_sent"] <= deployed["bytes_total"]
    assert answers_there(board["name"], "BUILTIN") == answers_here(built, "BUILTIN", project)
    measured(built, project, board["name"])
    if target == "rpi4":
        no_time_is_believed(board, project)


def no_time_is_believed(board: dict[str, Any], project: Path) -> None:
    """Check that its times are invalid, also because the files that stand in for its sensors say that it throttles."""
    (Path(board["folder"]) / "sys/class/thermal/thermal_zone0/temp").write_text("84000\n")
    (Path(board["folder"]) / "sys/devices/platform/soc/soc:firmware/get_throttled").write_text("4\n")
    latency = edgekit("probe", "latency", board["name"], "--min-time", "0.1", "--min-count", "30", "--json", cwd=project, timeout_s=_SLOW_S)
    assert latency.code == 8, latency
    report = latency.document["report"]
    assert report["simulated"] is True
    assert {(m["valid"], m["rule"]) for m in report["measurements"] if m["unit"] == "ms"} == {(False, "simulated")}
    (verdict,) = report["verdicts"]
    assert "throttling" in verdict["text"], "bit 2, from the file that stands in for the firmware"


def test_a_32_bit_board(up: Up, project: Path) -> None:
    """Its runtime is tflite-runtime 2.14: its optimised kernels round on Arm as none of this host's do, its reference kernels as all."""
    board = up("rpi3-armv7")
    built, facts, deployed = deploy("rpi3-armv7", project, board["name"])
    assert (facts["machine"], facts["board"]) == ("armv7l", "Raspberry Pi 3 Model B Plus (emulated)")
    assert facts["simulated"] is True
    (runtime,) = facts["runtimes"]
    assert (runtime["name"], runtime["version"], runtime["error"]) == ("tflite-runtime", "2.14.0", None)
    golden = deployed["golden"]
    assert 0 < golden["max_diff"] <= golden["tolerance"], "were it 0, the optimised kernels could be compared below, too"
    there = answers_there(board["name"], "BUILTIN_REF")
    assert there == answers_here(built, "BUILTIN_REF", project)
    if older := os.environ.get("EDGEKIT_TFLITE_RUNTIME_PYTHON"):
        assert there == answers_here(built, "BUILTIN_REF", project, older)
    measured(built, project, board["name"])


@pytest.mark.vm
def test_a_whole_machine(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    """A kernel of its own: what it says of itself comes from there, but for the name of its model."""
    board = bring_up("rpi5", monkeypatch, project, "--vm")
    try:
        assert (board["name"], board["target"]) == ("virtual-rpi5-vm", "rpi5")
        built, facts, deployed = deploy("rpi5", project, board["name"])
        assert (facts["machine"], facts["cpu"], facts["board"]) == ("aarch64", "Cortex-A76", "Raspberry Pi 5 Model B (emulated)")
        assert "cloud-arm64" in facts["kernel"]
        assert facts["simulated"] is True
        assert deployed["golden"]["max_diff"] == 0
        measured(built, project, board["name"])
    finally:
        assert edgekit("virtual", "down", board["name"], cwd=project).code == 0
    assert not list(home().iterdir())
