"""SSH against real servers: commands, files, and the ways there."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from edgekit.device import Address, Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.errors import DeadlineError, DeviceError, InputError
from tests.integration.conftest import Lab, Sshd, free_port

pytestmark = pytest.mark.sshd

_AWKWARD = 'it\'s "a" $HOME & größe;\n *.tflite'


def _file(path: Path, size_bytes: int) -> Path:
    path.write_bytes(hashlib.shake_128(b"edgekit").digest(size_bytes))
    return path


class TestOperations:
    def test_run_returns_status_and_both_outputs(self, board: Device) -> None:
        with connect(board) as connection:
            done = connection.run(["sh", "-c", "cat; echo two >&2; exit 7"], stdin=b"one", timeout_s=10)
        assert (done.rc, done.stdout, done.stderr) == (7, b"one", b"two\n")

    def test_words_arrive_as_they_are(self, board: Device) -> None:
        with connect(board) as connection:
            done = connection.run(["printf", "%s|", _AWKWARD, "", "a b", "-n", "~root", "x~/y"], timeout_s=10)
        assert done.stdout.decode() == f"{_AWKWARD}||a b|-n|~root|x~/y|"

    def test_lines_come_one_by_one_while_the_command_runs(self, board: Device) -> None:
        lines: list[tuple[bytes, float]] = []
        with connect(board) as connection:
            done = connection.run(
                ["sh", "-c", "echo one; sleep 0.5; echo two; printf three"],
                timeout_s=10,
                on_line=lambda line: lines.append((line, time.monotonic())),
            )
        assert [line for line, _ in lines] == [b"one", b"two", b"three"]
        assert lines[1][1] - lines[0][1] > 0.3
        assert done.stdout == b""

    def test_big_input_and_big_output_at_once(self, board: Device) -> None:
        data = os.urandom(6 << 20)
        with connect(board) as connection:
            assert connection.run(["cat"], stdin=data, timeout_s=60).stdout == data

    def test_command_that_does_not_read_its_input(self, board: Device) -> None:
        with connect(board) as connection:
            assert connection.run(["true"], stdin=bytes(8 << 20), timeout_s=20).rc == 0

    def test_killed_command_is_no_lost_link(self, board: Device) -> None:
        with connect(board) as connection:
            assert connection.run(["sh", "-c", "kill -9 $$"], timeout_s=10).rc in (-1, 137)
            assert connection.run(["true"], timeout_s=10).rc == 0

    def test_deadline(self, board: Device) -> None:
        with connect(board) as connection:
            start_s = time.monotonic()
            with pytest.raises(DeadlineError, match=r"sleep did not end within 0\.5 s"):
                connection.run(["sleep", "30"], timeout_s=0.5)
            assert time.monotonic() - start_s < 3
            assert connection.run(["true"], timeout_s=10).rc == 0

    def test_get_with_an_awkward_name(self, board: Device, tmp_path: Path) -> None:
        source = _file(tmp_path / _AWKWARD.replace("/", ""), 3 << 20)
        with connect(board) as connection:
            connection.get(str(source), tmp_path / "back", max_bytes=3 << 20)
        assert (tmp_path / "back").read_bytes() == source.read_bytes()

    def test_stdin_may_be_held_open(self, board: Device) -> None:
        with connect(board) as connection:
            pieces = (b"%d\n" % number for number in range(5))
            assert connection.run(["head", "-n", "5"], stdin=pieces, hold=True, timeout_s=10).stdout == b"0\n1\n2\n3\n4\n"

    def test_home_is_the_same_for_files_and_commands(self, board: Device, sshd: Sshd, tmp_path: Path) -> None:
        with connect(board) as connection:
            connection.run(["sh", "-c", 'printf %100s > "$1"', "sh", "~/in home"], timeout_s=10)
            connection.get("~/in home", tmp_path / "back", max_bytes=100)
            assert connection.run(["wc", "-c", "~/in home"], timeout_s=10).stdout.split()[0] == b"100"
        assert (sshd.folder / "home" / "in home").stat().st_size == 100

    def test_a_file_that_is_too_large_is_not_fetched(self, board: Device, tmp_path: Path) -> None:
        with connect(board) as connection:
            for remote in (str(_file(tmp_path / "large", 1001)), "/dev/zero"):
                with pytest.raises(DeviceError, match="is no file of at most 1000 bytes"):
                    connection.get(remote, tmp_path / "back", max_bytes=1000)
            connection.get(str(tmp_path / "large"), tmp_path / "fits", max_bytes=1001)
        assert not list(tmp_path.glob("*back*"))

    def test_missing_and_forbidden_files(self, board: Device, tmp_path: Path) -> None:
        with connect(board) as connection:
            with pytest.raises(DeviceError, match="No such file"):
                connection.get("/nowhere/at/all", tmp_path / "back", max_bytes=10)
        assert not list(tmp_path.glob("*back*"))

    def test_agent_answers_and_is_sent_once(self, board: Device) -> None:
        with connect(board) as connection:
            with AgentSession(connection, board) as session:
                assert session.facts().cores >= 1
            (agent,) = Path(board.root, "agent").iterdir()
            before = agent.stat()
            with AgentSession(connection, board) as session:
                session.facts()
            assert agent.stat().st_mtime_ns == before.st_mtime_ns
            assert before.st_mode & 0o777 == 0o600
            agent.write_bytes(b"damaged")
            with AgentSession(connection, board) as session:
                session.facts()


class TestTheWayThere:
    def test_alias_port_user_and_key_come_from_ssh_config(self, lab: Lab, sshd: Sshd) -> None:
        lab.configure(f"Include {lab.folder}/more*\n")
        (lab.folder / "more.conf").write_text(f"Host shed-?\n  HostName 127.0.0.1\n  Port {sshd.port}\n")
        with connect(Device(name="x", address=Address.parse("shed-7"))) as connection:
            assert connection.run(["true"], timeout_s=10).rc == 0

    def test_proxy_jump_through_a_second_server(self, lab: Lab, sshd: Sshd) -> None:
        jump = lab.serve()
        lab.configure(f"Host inner\n  HostName 127.0.0.1\n  Port {sshd.port}\n  ProxyJump 127.0.0.1:{jump.port}\n")
        device = Device(name="inner", address=Address.parse("inner"), root=str(lab.folder / "root"))
        with connect(device) as connection, AgentSession(connection, device) as session:
            assert session.facts().cores >= 1
        assert "direct-tcpip" in jump.log or "Accepted publickey" in jump.log

    def test_proxy_jump_that_cannot_reach_the_board(self, lab: Lab) -> None:
        jump = lab.serve()
        lab.configure(f"Host inner\n  HostName 127.0.0.1\n  Port {free_port()}\n  ProxyJump 127.0.0.1:{jump.port}\n")
        with pytest.raises(DeviceError, match="the jump host cannot reach it"):
            connect(Device(name="inner", address=Address.parse("inner")))

    def test_jump_through_itself(self, lab: Lab) -> None:
        lab.configure("Host loop\n  ProxyJump loop\n")
        with pytest.raises(InputError, match="more than 8 hosts"):
            connect(Device(name="loop", address=Address.parse("loop")))

    def test_proxy_command(self, lab: Lab, sshd: Sshd) -> None:
        pump = lab.folder / "pump.py"
        pump.write_text(
            "import socket, sys, threading, os\n"
            "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
            "def up():\n    while d := os.read(0, 65536): s.sendall(d)\n    s.shutdown(1)\n"
            "threading.Thread(target=up, daemon=True).start()\n"
            "while d := s.recv(65536): os.write(1, d)\n"
        )
        lab.configure(f"Host behind\n  HostName 127.0.0.1\n  Port {sshd.port}\n  ProxyCommand {sys.executable} {pump} %h %p\n")
        with connect(Device(name="behind", address=Address.parse("behind"))) as connection:
            assert connection.run(["echo", "hello"], timeout_s=10).stdout == b"hello\n"

    def test_proxy_command_that_fails(self, lab: Lab) -> None:
        lab.configure("Host behind\n  ProxyCommand false\n")
        start_s = time.monotonic()
        with pytest.raises(DeviceError, match="no SSH session came up"):
            connect(Device(name="behind", address=Address.parse("behind")), timeout_s=10)
        assert time.monotonic() - start_s < 5

    def test_refused_port(self, lab: Lab) -> None:
        with pytest.raises(DeviceError, match="refuses the connection") as caught:
            connect(lab.device(free_port()))
        assert "systemctl enable --now ssh" in (caught.value.fix or "")

    def test_unknown_name(self, lab: Lab) -> None:
        with pytest.raises(DeviceError, match=r"no such host name: board\.invalid"):
            connect(Device(name="x", address=Address.parse("pi@board.invalid")))

    def test_port_of_something_else(self, lab: Lab) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def answer() -> None:
                peer, _ = listener.accept()
                with peer:
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            thread = threading.Thread(target=answer)
            thread.start()
            with pytest.raises(DeviceError, match="no SSH session came up"):
                connect(lab.device(listener.getsockname()[1]), timeout_s=2)
            thread.join()
