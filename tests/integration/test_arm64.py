"""The whole line on an emulated arm64 board: the runtime that `device setup` chooses there, and what it answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.device import Device
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
    return lab.device(server.port, root=Path("/root/edgekit"))


@pytest.fixture
def project(arm_board: Device, tmp_path: Path) -> Path:
    address = f"{arm_board.address.user}@{arm_board.address.host}:{arm_board.address.port}"
    return copy_demo(tmp_path / "project", f'\n[devices.board]\naddress = "{address}"\nroot = "{arm_board.root}"\n')


def test_the_whole_way(project: Path) -> None:
    facts = edgekit("device", "facts", "--json", cwd=project).document["facts"]
    assert (facts["machine"], facts["cpu"], facts["board"]) == ("aarch64", "Cortex-A72", "Raspberry Pi 4 Model B (emulated)")
    assert (facts["python"][:5], facts["glibc"], facts["runtimes"], facts["numpy"]) == ("3.11.", "2.36", [], None)
    assert facts["simulated"] is True, "nobody says so but the emulator's own traces"

    built = edgekit("build", "--target", "rpi4", "--json", cwd=project).document
    edgekit("deploy", cwd=project).refused(6, "no tflite runtime runs there", "edgekit device setup board")

    setup = edgekit("device", "setup", "--json", cwd=project)
    if "cannot be fetched" in setup.err or "did not arrive" in setup.err:
        pytest.skip(f"no wheels here: {setup.err}")
    (runtime,) = setup.document["facts"]["runtimes"]
    assert (runtime["name"], runtime["lock"], runtime["error"]) == ("ai-edge-litert", "litert-2.3.0-cp311-aarch64", None)

    deployed = edgekit("deploy", "--json", cwd=project)
    assert deployed.code == 0, deployed
    assert deployed.document["golden"]["max_diff"] == 0, "XNNPACK computes on Arm what it computes on x86, to the last bit"
    assert deployed.document["bytes_sent"] == deployed.document["bytes_total"]

    accuracy = edgekit("probe", "accuracy", "--json", cwd=project)
    assert accuracy.code == 0, accuracy
    board, host = ({m["name"]: m["value"] for m in report["measurements"]} for report in (accuracy.document["report"], built["report"]))
    for name in ("top1_float", "top1_artifact", "disagreement"):
        assert board[name] == host[name], name

    latency = edgekit("probe", "latency", "--min-time", "0.1", "--min-count", "30", "--json", cwd=project)
    assert latency.code == 8, latency
    assert latency.document["report"]["simulated"] is True
    assert {(m["valid"], m["rule"]) for m in latency.document["report"]["measurements"] if m["unit"] == "ms"} == {(False, "simulated")}
