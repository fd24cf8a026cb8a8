"""What `device setup`, `build` and `deploy` make of an emulated arm64 board that lacks what they look for first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.device import Device
from edgekit.devices import connect, provision
from edgekit.devices.locks import ROWS, read_lock
from edgekit.devices.session import AgentSession
from edgekit.errors import DeviceError
from edgekit.inventory import find_device
from edgekit.project import Project
from tests.integration.command import edgekit
from tests.integration.test_line import copy_demo
from tests.integration.virtual import bring_up

pytestmark = [pytest.mark.arm64, pytest.mark.slow]


@pytest.fixture
def arm_board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Device]:
    board = bring_up("rpi4", monkeypatch, tmp_path)
    yield find_device(Project(), board["name"])
    assert edgekit("virtual", "down", board["name"], cwd=tmp_path).code == 0


@pytest.fixture
def project(arm_board: Device, tmp_path: Path) -> Path:
    folder = copy_demo(tmp_path / "project", f'\n[devices.board]\naddress = "{arm_board.address}"\n')
    toml = folder / "edgekit.toml"
    toml.write_text(toml.read_text().replace('dataset = "evaluation.npz"', 'dataset = "evaluation.npz"\nsamples = 200'))
    return folder


@pytest.mark.long
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
