"""The model in a program on the board, and as a service there, through deployments that succeed, fail and go back.

The board is this machine. Its user's systemd is the stand-in of tests/standin, which truly runs what the unit says.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.integration.command import Said, edgekit
from tests.integration.test_line import copy_demo

STANDIN = Path(__file__).parents[1] / "standin" / "systemctl"
TERMS = {"plain": "", "other": "latency_p99_ms = 5000.0", "bad": 'health = ["false"]'}
THREE_LINES = """
from edgekit.runtime import load
import edgekit, json, sys
model = load("meter-digits", root=sys.argv[1])
scores = model.predict(__import__("numpy").zeros((32, 32, 3), "uint8"))
print(json.dumps([model.release, scores.shape, scores.dtype.name, edgekit.__file__]))
"""


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the user's units stand; what was started is stopped."""
    programs, home = tmp_path / "bin", tmp_path / "home"
    programs.mkdir()
    home.mkdir()
    program = programs / "systemctl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {STANDIN} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    folder = home / ".config" / "systemd" / "user"
    yield folder
    for pid in folder.glob("*.pid"):
        subprocess.run([program, "disable", "--now", pid.stem], check=True)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number: int = listener.getsockname()[1]
    return number


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_demo(tmp_path / "project", f'\n[devices.board]\naddress = "local"\nroot = "{tmp_path}/root"\npython = "{sys.executable}"\n')


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle for each `TERMS` of its deployment."""
    found = {}
    for name, terms in TERMS.items():
        folder = copy_demo(tmp_path_factory.mktemp("built") / name, f"\n[deploy]\n{terms}\n")
        said = edgekit("build", "--target", "local", "--json", cwd=folder)
        assert said.code == 0, said
        found[name] = Path(said.document["bundle"])
    return found


def deploy(project: Path, bundle: Path, *words: str) -> Said:
    """Deploy a bundle whose terms the project declares as well."""
    text = (project / "edgekit.toml").read_text()
    (project / "edgekit.toml").write_text(text.partition("\n[deploy]\n")[0] + f"\n[deploy]\n{TERMS[bundle.parents[1].name]}\n")
    return edgekit("deploy", "--bundle", str(bundle), *words, cwd=project)


def http(port: int, path: str, sample: Any = None) -> Any:
    data = None if sample is None else json.dumps(sample).encode()
    with urlopen(Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"}), timeout=60) as answer:
        return json.loads(answer.read())


def test_a_service_and_a_program_follow_the_deployments(
    project: Path, built: dict[str, Path], units: Path, port: int, tmp_path: Path
) -> None:
    first = deploy(project, built["plain"], "--service", "--port", str(port), "--json")
    assert first.code == 0, first
    assert first.document["service"]["port"] == port
    assert "enable-linger" in first.document["service"]["linger"]
    release = first.document["release"]
    sample = [[[0, 0, 0]] * 32] * 32
    assert http(port, "/health")["release"] == release
    assert http(port, "/predict", sample)["release"] == release

    root = tmp_path / "root"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(root / "lib")}
    words = [sys.executable, "-c", THREE_LINES, str(root)]
    done = subprocess.run(words, env=environment, cwd="/", capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[:3] == [release, [10], "float32"]
    assert json.loads(done.stdout)[3].startswith(str(root / "lib"))

    second = deploy(project, built["other"], "--json")
    assert second.code == 0, second
    assert second.document["service"] == {"port": port, "linger": None}
    assert http(port, "/health")["release"] == second.document["release"] != release
    assert http(port, "/predict", sample)["release"] == second.document["release"]

    deploy(project, built["bad"]).refused(6, "was taken back")
    assert http(port, "/health")["release"] == second.document["release"]

    assert edgekit("rollback", "board", cwd=project).code == 0
    assert http(port, "/health")["release"] == release

    (shown,) = edgekit("device", "service", "--json", cwd=project).document["services"]
    assert (shown["app"], shown["port"], shown["healthy"], shown["release"]) == ("meter-digits", port, True, release)
    assert "healthy" in edgekit("device", "service", cwd=project).out
    assert edgekit("device", "service", "--remove", cwd=project).code == 0
    assert not list(units.glob("edgekit-meter-digits.service"))
    assert "no service there" in edgekit("device", "service", cwd=project).out


def test_a_first_release_that_is_taken_back_leaves_no_service(project: Path, built: dict[str, Path], units: Path, port: int) -> None:
    deploy(project, built["bad"], "--service", "--port", str(port)).refused(6, "was taken back")
    assert not list(units.glob("edgekit-meter-digits.service"))


@pytest.mark.parametrize("refused", ["enable", "restart"])
def test_a_service_that_cannot_be_installed_takes_its_release_back(
    project: Path, built: dict[str, Path], units: Path, port: int, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """At once: the deadline that the board would keep by itself is ten minutes."""
    release = deploy(project, built["plain"], "--json").document["release"]
    monkeypatch.setenv("STANDIN_SYSTEMCTL_REFUSES", f"{refused} edgekit-meter-digits.service")
    deploy(project, built["other"], "--service", "--port", str(port)).refused(6, f"systemctl --user {refused}", "Access denied")
    (app,) = edgekit("status", "board", "--json", cwd=project).document["apps"]
    assert (app["current"], app["previous"], app["state"], app["whole"]) == (release, None, "rolled-back", True)
    assert not list(units.glob("edgekit-meter-digits.service"))


@pytest.mark.parametrize(
    ("systemd", "words"), [("down", ["no systemd of the user", "enable-linger"]), ("229", ["its systemd is 229", "236"])]
)
def test_a_board_that_cannot_is_told_before_anything_is_sent(
    project: Path, built: dict[str, Path], units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, systemd: str, words: list[str]
) -> None:
    monkeypatch.setenv("STANDIN_SYSTEMCTL", systemd)
    deploy(project, built["plain"], "--service").refused(6, "nothing was sent", *words)
    assert not list((tmp_path / "root").glob("blobs/*/*"))


def test_a_port_that_is_taken(project: Path, built: dict[str, Path], units: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        said = deploy(project, built["plain"], "--service", "--port", str(listener.getsockname()[1]))
    said.refused(6, "something else listens on port", "--port")
    deploy(project, built["plain"], "--port", "8081").refused(2, "--port is the service's")
