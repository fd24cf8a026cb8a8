"""The whole line on an emulated arm64 board: the runtime that `device setup` chooses there, and what it answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.device import Device
from edgekit.devices import connect, provision
from edgekit.devices.locks import ROWS, read_lock
from edgekit.devices.session import AgentSession
from edgekit.errors import DeviceError
from tests.integration import arm64
from tests.integration.command import edgekit
from tests.integration.conftest import Lab
from tests.integration.test_line import copy_demo

pytestmark = [pytest.mark.arm64, pytest.mark.slow]


@pytest.fixture
def arm_board(lab: Lab) -> Device:
    if reason := arm64.missing():
        pytest.skip(reason)
    try:
        arm64.root()
    except RuntimeError as error:
        pytest.skip(f"no arm64 root can be made here: {error}")
    server = lab.serve(options=arm64.sshd_options(lab.folder / "arm64"))
    return lab.device(server.port, root=Path("~/edgekit"))


@pytest.fixture
def project(arm_board: Device, tmp_path: Path) -> Path:
    address = f"{arm_board.address.user}@{arm_board.address.host}:{arm_board.address.port}"
    folder = copy_demo(tmp_path / "project", f'\n[devices.board]\naddress = "{address}"\nroot = "{arm_board.root}"\n')
    toml = folder / "edgekit.toml"
    toml.write_text(toml.read_text().replace('dataset = "evaluation.npz"', 'dataset = "evaluation.npz"\nsamples = 200'))
    return folder


def test_the_whole_way(project: Path) -> None:
    built = edgekit("build", "--target", "rpi4", "--json", cwd=project).document
    setup = edgekit("device", "setup", "--json", cwd=project)
    if "cannot be fetched" in setup.err or "did not arrive" in setup.err:
        pytest.skip(f"no wheels here: {setup.err}")
    facts = setup.document["facts"]
    assert (facts["machine"], facts["cpu"], facts["board"]) == ("aarch64", "Cortex-A72", "Raspberry Pi 4 Model B (emulated)")
    assert (facts["python"][:5], facts["glibc"]) == ("3.11.", "2.36")
    assert facts["simulated"] is True, "nobody says so but the emulator's own traces"
    (runtime,) = facts["runtimes"]
    assert (runtime["name"], runtime["lock"][:26], runtime["error"]) == ("ai-edge-litert", "litert-2.3.0-cp311-aarch64", None)

    deployed = edgekit("deploy", "--json", cwd=project)
    assert deployed.code == 0, deployed
    assert deployed.document["golden"]["max_diff"] == 0, "XNNPACK computes on Arm what it computes on x86, to the last bit"
    assert 0 < deployed.document["bytes_sent"] <= deployed.document["bytes_total"]

    accuracy = edgekit("probe", "accuracy", "--json", cwd=project)
    assert accuracy.code in (0, 8), accuracy
    board, host = ({m["name"]: m["value"] for m in report["measurements"]} for report in (accuracy.document["report"], built["report"]))
    for name in ("top1_float", "top1_artifact", "disagreement"):
        assert board[name] == host[name], name

    latency = edgekit("probe", "latency", "--min-time", "0.1", "--min-count", "30", "--json", cwd=project)
    assert latency.code == 8, latency
    assert latency.document["report"]["simulated"] is True
    assert {(m["valid"], m["rule"]) for m in latency.document["report"]["measurements"] if m["unit"] == "ms"} == {(False, "simulated")}


def test_an_older_runtime_rounds_otherwise_and_passes(project: Path, arm_board: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """tflite-runtime 2.14 is what a board with an older Python or a 32-bit system gets; its kernels are nobody's on this host."""
    lock = read_lock(next(row for row in ROWS if (row.runtime, row.machine) == ("tflite", "aarch64")), "cp311")
    try:
        provision.fetch(lock)
    except DeviceError as error:
        pytest.skip(f"no wheels here: {error}")
    monkeypatch.setattr(provision, "choose_runtime", lambda *_: lock)
    with connect(arm_board) as connection, AgentSession(connection, arm_board) as session:
        facts = provision.setup(session, session.facts(), "tflite")
    assert [(runtime.name, runtime.version, runtime.error) for runtime in facts.runtimes] == [("tflite-runtime", "2.14.0", None)]
    assert edgekit("build", "--target", "rpi4", cwd=project).code in (0, 8)  # 8: so few samples may prove nothing
    deployed = edgekit("deploy", "--json", cwd=project)
    assert deployed.code == 0, deployed
    golden = deployed.document["golden"]
    assert 0 < golden["max_diff"] <= golden["tolerance"]


def test_a_jetson_without_tensorrt_is_told_what_is_missing(arm_board: Device, project: Path) -> None:
    """The emulated board has neither GPU nor JetPack: nothing can be built there, and nothing is tried."""
    without = edgekit("build", "--target", "jetson", "--json", cwd=project)
    assert without.code in (0, 8), without  # 8: so few samples may prove nothing
    assert without.document["engine"]["built"] is False
    edgekit("build", "--target", "jetson", "--device", "board", cwd=project).refused(
        4, "there is no TensorRT", "no NVIDIA GPU", "apt install tensorrt"
    )
    edgekit("device", "setup", "--target", "jetson", cwd=project).refused(5, "TensorRT comes with JetPack", "fix:")
    bundle = without.document["bundle"]
    edgekit("deploy", "--bundle", bundle, "--stand-in", cwd=project).refused(6, "there is no TensorRT", "nothing of the release was sent")
