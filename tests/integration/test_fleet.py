"""A roll-out over real SSH servers: the canary, the leases of others, a host that is killed in the middle, and one that is interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.bundle import open_bundle
from edgekit.device import Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.pipeline import silent
from edgekit.pipeline.crew import one_board
from tests.integration.command import edgekit
from tests.integration.conftest import Lab, free_port
from tests.integration.fleet import activations, kill_after, project_of, spoilt
from tests.integration.test_line import copy_demo

pytestmark = pytest.mark.sshd

BOARDS = ["b1", "b2", "b3"]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    said = edgekit("build", "--target", "local", "--json", cwd=copy_demo(tmp_path_factory.mktemp("built") / "demo"))
    assert said.code == 0, said
    return Path(said.document["bundle"])


@pytest.fixture
def boards(lab: Lab) -> dict[str, Device]:
    return {name: lab.device(lab.serve().port, python=sys.executable) for name in BOARDS}


@pytest.fixture
def project(boards: dict[str, Device], tmp_path: Path) -> Path:
    return project_of(tmp_path / "project", {name: (str(board.address), board.root) for name, board in boards.items()})


def count(boards: dict[str, Device], bundle: Path) -> list[int]:
    with open_bundle(bundle) as opened:
        return [activations(Path(board.root), opened.digest) for board in boards.values()]


DYING = """
import os, sys
from pathlib import Path
from edgekit.bundle import open_bundle
from edgekit.device import Address, Device
from edgekit.devices.session import AgentSession
from edgekit.pipeline.deploy import deploy
genuine = AgentSession.job
def job(session, name, **fields):
    told = genuine(session, name, **fields)
    if name == "deploy.activate":
        os._exit(9)
    return told
AgentSession.job = job
bundle, host, user, port, root, python = sys.argv[1:]
with open_bundle(Path(bundle)) as opened:
    deploy(opened, Device(name="b1", address=Address(host=host, user=user, port=int(port)), root=root, python=python), name="%s")
"""


def test_what_a_lost_host_had_begun_goes_on_under_its_name(boards: dict[str, Device], good: Path) -> None:
    """Another name is told to wait for the board's deadline, ten minutes."""
    board, name = boards["b1"], "0123456789abcdef"
    where = [board.address.host, str(board.address.user), str(board.address.port), board.root, str(board.python)]
    host = subprocess.run([sys.executable, "-c", DYING % name, str(good), *where], capture_output=True, text=True)
    assert host.returncode == 9, host.stderr
    with open_bundle(good) as bundle:
        other = one_board(bundle, board, {}, name="f" * 16, doubt=False, progress=silent)
        assert (other.code, "another deployment" in (other.message or "")) == (9, True)
        assert one_board(bundle, board, {}, name=name, doubt=True, progress=silent).code == 0
        assert activations(Path(board.root), bundle.digest) == 1
        assert one_board(bundle, board, {}, name=name, doubt=True, progress=silent).already


def states(document: dict[str, object]) -> list[str]:
    found = document["boards"]
    assert isinstance(found, list)
    return [board["state"] for board in found]


def test_the_canary_stops_a_bad_bundle_and_a_killed_host_goes_on_where_it_stopped(
    project: Path, boards: dict[str, Device], good: Path, tmp_path: Path
) -> None:
    bad = spoilt(good, tmp_path / "bad")
    said = edgekit("deploy", "--to", "rack", "--bundle", str(bad), "--json", cwd=project)
    assert said.code == 6, said
    assert states(said.document) == ["failed", "waiting", "waiting"]
    assert said.document["stopped"] is True
    assert "golden samples" in said.document["boards"][0]["error"]["message"]
    assert [Path(board.root).exists() for board in boards.values()] == [True, False, False], "the others were not even looked at"

    kill_after(2, "--to", "rack", "--bundle", str(good), "--parallel", "2", cwd=project)
    assert [n for n in count(boards, good) if n][:2] == [1, 1]
    before = {name: (Path(board.root) / "apps" / "meter-digits" / "journal") for name, board in boards.items()}
    done = {name: path.read_bytes() for name, path in before.items() if path.exists() and b'"activated"' in path.read_bytes()}
    again = edgekit("deploy", "--to", "rack", "--bundle", str(good), "--parallel", "2", "--resume", "--json", cwd=project)
    assert again.code == 0, again
    assert states(again.document) == ["done"] * 3
    assert count(boards, good) == [1] * 3, "each board was switched once"
    untouched = [board["name"] for board in again.document["boards"] if "already" not in board]
    assert len(untouched) >= 2
    assert all(before[name].read_bytes() == done[name] for name in untouched), "and those that were done were left alone"


def test_busy_and_absent_boards_are_named(project: Path, boards: dict[str, Device], good: Path) -> None:
    with connect(boards["b2"]) as connection, AgentSession(connection, boards["b2"]) as session:
        session.job("lease.take", timeout_s=30, token="c" * 32, owner="ann@laptop", reason="measuring", ttl_s=600)
    text = (project / "edgekit.toml").read_text().replace(str(boards["b3"].address), f"127.0.0.1:{free_port()}")
    (project / "edgekit.toml").write_text(text)
    words = ("deploy", "--to", "b1", "--to", "b2", "--to", "b3", "--bundle", str(good), "--json", "--max-failures", "2")
    said = edgekit(*words, cwd=project)
    assert said.code == 5, said
    errors = {board["name"]: board["error"] for board in said.document["boards"]}
    assert errors["b1"] is None
    assert (errors["b2"]["kind"], errors["b2"]["exit_code"]) == ("busy", 9)
    assert "ann@laptop holds the board: measuring" in errors["b2"]["message"]
    assert errors["b3"]["exit_code"] == 5
    alone = edgekit("deploy", "b2", "--bundle", str(good), cwd=project)
    alone.refused(9, "ann@laptop holds the board: measuring (for ", "edgekit device release b2 --force")
    assert edgekit("status", "b2", cwd=project).code == 0
    assert edgekit("device", "release", "b2", "--force", "--json", cwd=project).document["forced"]["owner"] == "ann@laptop"
    assert edgekit(*words, "--resume", cwd=project).document["boards"][1]["state"] == "done"


def test_a_lease_by_hand_serves_its_holder_alone(project: Path, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = edgekit("device", "lease", "b1", "--for", "30m", "--reason", "tuning", "--json", cwd=project)
    assert 1790 < taken.document["lease"]["left_s"] <= 1800
    assert edgekit("deploy", "b1", "--bundle", str(good), cwd=project).code == 0
    assert edgekit("device", "lease", "b1", "--json", cwd=project).document["lease"]["reason"] == "tuning", "the deployment left it"
    with monkeypatch.context() as other:
        other.setenv("XDG_STATE_HOME", str(tmp_path / "another host"))
        edgekit("probe", "latency", "b1", cwd=project).refused(9, "holds the board: tuning")
    assert edgekit("device", "release", "b1", "--json", cwd=project).document["lease"] is None


def test_an_interrupted_roll_out_lets_boards_end_and_says_how_to_go_on(project: Path, boards: dict[str, Device], good: Path) -> None:
    words = [sys.executable, "-m", "edgekit", "deploy", "--to", "rack", "--bundle", str(good), "--parallel", "1", "--json"]
    with subprocess.Popen(words, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as host:
        assert host.stderr is not None
        assert host.stdout is not None
        for line in host.stderr:
            if line.startswith("phase 2"):
                break
        host.send_signal(signal.SIGINT)
        document = json.loads(host.stdout.read())
        assert host.wait() == 130
    assert document["error"]["kind"] == "interrupted"
    assert document["error"]["fix"].endswith("--resume")
    assert count(boards, good) in ([1, 1, 0], [1, 0, 0]), "the one under way came to its end"
    assert edgekit(*document["error"]["fix"].split()[1:], cwd=project).code == 0
    assert count(boards, good) == [1] * 3
