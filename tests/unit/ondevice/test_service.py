"""The service as systemd runs it: the unit's text by systemd's own judgement, its life by a stand-in for ``systemctl --user``.

A user manager needs a login and cgroups of its own; the stand-in (tests/standin/systemctl) truly runs what the unit says.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from edgekit.ondevice import prune, service
from edgekit.ondevice.wire import AgentError

from .conftest import Agent
from .served import ask, deploy, install

pytest.importorskip("numpy")
STANDIN = Path(__file__).parents[2] / "standin" / "systemctl"


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the units, of a home of the test's own; what was started is stopped."""
    bin_folder, home = tmp_path / "bin", tmp_path / "home"
    bin_folder.mkdir()
    home.mkdir()
    (bin_folder / "systemctl").write_text(f'#!/bin/sh\nexec {sys.executable} {STANDIN} "$@"\n')
    (bin_folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_folder), prepend=":")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    folder = home / ".config" / "systemd" / "user"
    yield folder
    for pid in folder.glob("*.pid"):
        subprocess.run([bin_folder / "systemctl", "disable", "--now", pid.stem], check=True)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number: int = listener.getsockname()[1]
    return number


def wait(agent: Agent, release: str) -> object:
    return service.await_release(str(agent.root), "meter", release, 60.0, lambda stage, done, total: None)


def test_a_service_is_installed_followed_and_removed(agent: Agent, units: Path, port: int) -> None:
    install(agent)
    first = deploy(agent, 1)
    looked = agent.ask("service.look", app="meter", port=port)
    assert (looked["systemd"], looked["why"], looked["port_taken"], looked["odd_path"]) == (252, None, False, None)
    assert wait(agent, first) is None  # it has none
    answer = agent.ask("service.install", app="meter", port=port)
    unit = units / "edgekit-meter.service"
    assert answer == {"app": "meter", "port": port, "unit": str(unit), "was_there": False}
    assert wait(agent, first) == port
    assert os.path.realpath(agent.root / "lib") == agent.command[1]
    assert agent.ask("service.look", app="meter", port=port)["port_taken"] is False  # by itself
    assert agent.ask("service.look", app="other", port=port)["port_taken"] is True
    pid = (units / "edgekit-meter.service.pid").read_text()
    second = deploy(agent, 2)
    assert agent.ask("service.install", app="meter", port=port)["was_there"]
    assert wait(agent, second) == port
    assert (units / "edgekit-meter.service.pid").read_text() == pid  # it was not restarted for that
    (shown,) = agent.ask("service.show")["services"]
    assert (shown["app"], shown["port"], shown["healthy"], shown["release"]) == ("meter", port, True, second)
    assert agent.ask("service.remove", app="meter")["removed"] is True
    assert agent.ask("service.remove", app="meter")["removed"] is False
    assert agent.ask("service.show")["services"] == []
    assert not unit.exists()
    with pytest.raises(ConnectionRefusedError):
        ask(port, "GET", "/health")


def test_one_that_does_not_take_a_release_up(agent: Agent, units: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    install(agent)
    deploy(agent, 1)
    agent.ask("service.install", app="meter", port=port)
    monkeypatch.setattr(service, "HEALTHY_S", 2.0)
    with pytest.raises(AgentError, match=r"does not take up .*: .*does not open"):
        wait(agent, deploy(agent, 255))


def test_another_port_moves_it(agent: Agent, units: Path, port: int) -> None:
    install(agent)
    release = deploy(agent, 1)
    agent.ask("service.install", app="meter", port=port)
    wait(agent, release)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = listener.getsockname()[1]
    agent.ask("service.install", app="meter", port=other)
    assert wait(agent, release) == other
    with pytest.raises(ConnectionRefusedError):
        ask(port, "GET", "/health")


@pytest.mark.parametrize("refused", ["daemon-reload", "enable edgekit-meter.service", "restart edgekit-meter.service"])
def test_one_that_systemd_refuses_leaves_what_was_there(
    agent: Agent, units: Path, port: int, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    install(agent)
    release, unit = deploy(agent, 1), units / "edgekit-meter.service"
    with monkeypatch.context() as patch:
        patch.setenv("STANDIN_SYSTEMCTL_REFUSES", refused)
        assert "Access denied" in agent.refuse("service.install", app="meter", port=port)["message"]
    assert not unit.exists()
    assert wait(agent, release) is None  # a later release is not asked for a service
    agent.ask("service.install", app="meter", port=port)
    wait(agent, release)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = listener.getsockname()[1]
    with monkeypatch.context() as patch:
        patch.setenv("STANDIN_SYSTEMCTL_REFUSES", refused)
        agent.refuse("service.install", app="meter", port=other)
    assert wait(agent, release) == port


def test_the_agent_that_lib_names_is_kept(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    for name in ("agent-aaaaaaaaaaaa.pyz", "agent-bbbbbbbbbbbb.pyz"):
        (tmp_path / "agent" / name).touch()
        os.utime(tmp_path / "agent" / name, (0, 0))
    (tmp_path / "lib").symlink_to("agent/agent-aaaaaaaaaaaa.pyz")
    prune._remove_agents(str(tmp_path))
    assert [path.name for path in (tmp_path / "agent").iterdir()] == ["agent-aaaaaaaaaaaa.pyz"]


def test_a_unit_of_another_root_is_left_alone(agent: Agent, units: Path, port: int) -> None:
    units.mkdir(parents=True)
    (units / "edgekit-meter.service").write_text("[Service]\nExecStart=/bin/true\n")
    assert agent.refuse("service.install", app="meter", port=port)["kind"] == "state"
    assert agent.ask("service.remove", app="meter")["removed"] is False
    assert agent.ask("service.show")["services"] == []


@pytest.mark.parametrize(("said", "systemd", "why"), [("down", None, "Failed to connect to bus"), ("229", 229, None)])
def test_a_board_without_a_user_manager(
    agent: Agent, units: Path, port: int, monkeypatch: pytest.MonkeyPatch, said: str, systemd: int | None, why: str | None
) -> None:
    monkeypatch.setenv("STANDIN_SYSTEMCTL", said)
    looked = agent.ask("service.look", app="meter", port=port)
    assert looked["systemd"] == systemd
    assert (looked["why"] or "").startswith(why or "")
    assert list(agent.root.glob("*")) == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here: sudo apt install systemd")
def test_systemd_itself_has_nothing_against_the_unit(agent: Agent, units: Path, port: int, tmp_path: Path) -> None:
    agent.ask("service.install", app="meter", port=port)
    (tmp_path / "run").mkdir(mode=0o700)
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(units / "edgekit-meter.service")],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path / "run")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
