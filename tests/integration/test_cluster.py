"""A roll-out by the workers of a real Dask cluster: processes of their own, sites, and one that is killed while it is at a board.

They and the host run in the interpreter that EDGEKIT_CLUSTER_PYTHON names, which has edgekit's dependencies and `distributed`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edgekit.bundle import open_bundle
from edgekit.device import Device
from tests.integration.command import Said
from tests.integration.conftest import Lab
from tests.integration.fleet import activations, project_of
from tests.integration.test_fleet import good

__all__ = ["good"]

pytestmark = [pytest.mark.cluster, pytest.mark.sshd]

ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT_S = 60.0

# A board's interpreter that stops, once the board is leased, for as long as the gate is there.
GATE = """#!/bin/sh
if [ -e {root}/lease.json ] && [ -e {folder}/gate ]; then
    touch {folder}/reached
    while [ -e {folder}/gate ]; do sleep 0.1; done
fi
exec {python} "$@"
"""

WHO = """
import sys, distributed
with distributed.Client(sys.argv[1]) as client:
    names = {address: worker["name"] for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()}
    print(*(names[address] for address, tasks in client.processing().items() if tasks))
"""


class Cluster:
    """A scheduler and its workers, by name."""

    def __init__(self, python: str, folder: Path) -> None:
        self.python, self.folder = python, folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.env = {**os.environ, "PYTHONPATH": str(ROOT)}
        folder.mkdir()
        self.file = folder / "scheduler.json"
        self._start("scheduler", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(self.file))
        self.wait(self.file.is_file)
        self.address: str = json.loads(self.file.read_text())["address"]

    def work(self, name: str, site: str) -> None:
        resources = ("--resources", f"site:{site}=2")
        self._start(
            name,
            "worker",
            self.address,
            "--name",
            name,
            "--nthreads",
            "2",
            "--no-nanny",
            "--no-dashboard",
            *resources,
            "--local-directory",
            str(self.folder / name),
        )
        log = self.folder / f"{name}.log"
        self.wait(lambda: "Starting established connection" in log.read_text())

    def _start(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            command = [self.python, "-m", "dask", *words]
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, env=self.env, cwd=self.folder)

    def wait(self, happened: Callable[[], bool]) -> None:
        end_s = time.monotonic() + _TIMEOUT_S
        while not happened():
            assert time.monotonic() < end_s, "".join(path.read_text() for path in self.folder.glob("*.log"))
            time.sleep(0.1)

    def deploy(self, bundle: Path, project: Path) -> subprocess.Popen[str]:
        command = [self.python, "-m", "edgekit", "deploy", "--to", "rack", "--bundle", str(bundle), "--scheduler", self.address, "--json"]
        return subprocess.Popen(command, cwd=project, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def close(self) -> None:
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path, lab: Lab) -> Iterator[Cluster]:
    """Start a scheduler; its workers inherit the ssh_config of the lab."""
    python = os.environ.get("EDGEKIT_CLUSTER_PYTHON")
    if not python:
        pytest.skip("no Dask: set EDGEKIT_CLUSTER_PYTHON to an interpreter that has edgekit's dependencies and distributed")
    made = Cluster(python, tmp_path / "cluster")
    yield made
    made.close()


@pytest.fixture
def boards(lab: Lab, tmp_path: Path) -> dict[str, Device]:
    """Two boards; the first one's interpreter has the gate."""
    first, second = (lab.device(lab.serve().port, python=sys.executable) for _ in range(2))
    gate = tmp_path / "python"
    gate.write_text(GATE.format(root=first.root, folder=tmp_path, python=sys.executable))
    gate.chmod(0o755)
    return {"b1": Device(name="b1", address=first.address, root=first.root, python=str(gate)), "b2": second}


@pytest.fixture
def project(boards: dict[str, Device], tmp_path: Path) -> Path:
    folder = project_of(tmp_path / "project", {n: (str(b.address), b.root) for n, b in boards.items()}, sites=("east", "west"))
    text = (folder / "edgekit.toml").read_text().replace(f'python = "{sys.executable}"', f'python = "{boards["b1"].python}"', 1)
    (folder / "edgekit.toml").write_text(text)
    return folder


def ended(host: subprocess.Popen[str]) -> Said:
    out, err = host.communicate(timeout=_TIMEOUT_S * 3)
    return Said(host.returncode, out, err)


def test_a_killed_workers_board_goes_to_another_worker_of_its_site(
    cluster: Cluster, project: Path, boards: dict[str, Device], good: Path, tmp_path: Path
) -> None:
    cluster.work("east-1", "east")
    said = ended(cluster.deploy(good, project))
    said.refused(2, "no worker of west is there for b2")
    cluster.work("east-2", "east")
    cluster.work("west-1", "west")
    (tmp_path / "gate").touch()
    host = cluster.deploy(good, project)
    cluster.wait((tmp_path / "reached").exists)
    asked = subprocess.run([cluster.python, "-c", WHO, cluster.address], capture_output=True, text=True, check=True)
    (name,) = asked.stdout.split()
    assert name.startswith("east-")
    cluster.processes[name].kill()
    (tmp_path / "gate").unlink()
    said = ended(host)
    assert said.code == 0, said
    assert [board["state"] for board in said.document["boards"]] == ["done", "done"]
    with open_bundle(good) as bundle:
        assert [activations(Path(board.root), bundle.digest) for board in boards.values()] == [1, 1]


def test_no_scheduler_answers(cluster: Cluster, project: Path, good: Path) -> None:
    cluster.processes["scheduler"].kill()
    ended(cluster.deploy(good, project)).refused(3, f"no Dask scheduler answers at {cluster.address}")
