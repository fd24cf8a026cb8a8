"""SSH against real servers: what works, and what every fault is turned into."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgekit.device import Address, Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.errors import AuthError, DeadlineError, DeployError, DeviceError, HostKeyError, InputError, LinkError
from tests.integration.conftest import Lab, Sshd, free_port, make_key

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

    def test_put_and_get_with_an_awkward_name(self, board: Device, tmp_path: Path) -> None:
        source = _file(tmp_path / "source", 3 << 20)
        seen: list[tuple[int, int]] = []
        remote = str(tmp_path / _AWKWARD.replace("/", ""))
        with connect(board) as connection:
            connection.put(source, remote, progress=lambda done, total: seen.append((done, total)))
            connection.get(remote, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == source.read_bytes() == Path(remote).read_bytes()
        assert (seen[0], seen[-1]) == ((0, 3 << 20), (3 << 20, 3 << 20))

    def test_put_shortens_an_older_longer_file(self, board: Device, tmp_path: Path) -> None:
        (tmp_path / "there").write_bytes(b"x" * 100)
        with connect(board) as connection:
            connection.put(_file(tmp_path / "source", 10), str(tmp_path / "there"))
        assert (tmp_path / "there").read_bytes() == (tmp_path / "source").read_bytes()

    def test_put_goes_on_at_an_offset(self, board: Device, tmp_path: Path) -> None:
        source = _file(tmp_path / "source", 2 << 20)
        (tmp_path / "there").write_bytes(source.read_bytes()[: 1 << 20] + b"garbage")
        with connect(board) as connection:
            connection.put(source, str(tmp_path / "there"), offset=1 << 20)
        assert (tmp_path / "there").read_bytes() == source.read_bytes()

    def test_home_is_the_same_for_files_and_commands(self, board: Device, sshd: Sshd, tmp_path: Path) -> None:
        with connect(board) as connection:
            connection.put(_file(tmp_path / "source", 100), "~/in home")
            assert connection.run(["wc", "-c", "~/in home"], timeout_s=10).stdout.split()[0] == b"100"
        assert (sshd.folder / "home" / "in home").stat().st_size == 100

    def test_missing_and_forbidden_files(self, board: Device, tmp_path: Path) -> None:
        with connect(board) as connection:
            with pytest.raises(DeviceError, match="No such file"):
                connection.get("/nowhere/at/all", tmp_path / "back")
            with pytest.raises(DeviceError, match="No such file"):
                connection.put(_file(tmp_path / "source", 10), "/nowhere/at/all")
        assert not list(tmp_path.glob("*back*"))

    def test_without_sftp(self, lab: Lab, tmp_path: Path) -> None:
        device = lab.device(lab.serve(options="").port)
        source = _file(tmp_path / "source", 2 << 20)
        remote = tmp_path / "it's there"
        with connect(device) as connection:
            connection.put(source, str(remote))
            assert remote.read_bytes() == source.read_bytes()
            remote.write_bytes(source.read_bytes()[:1000] + b"garbage")
            connection.put(source, str(remote), offset=1000)
            connection.get(str(remote), tmp_path / "back")
            with pytest.raises(DeviceError, match="No such file"):
                connection.get("/nowhere/at/all", tmp_path / "back2")
        assert (tmp_path / "back").read_bytes() == remote.read_bytes() == source.read_bytes()

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


class TestHostKeys:
    def test_unknown_key_shows_its_fingerprint_and_the_command_that_accepts_it(self, lab: Lab) -> None:
        server = lab.serve(known=False)
        with pytest.raises(HostKeyError) as caught:
            connect(lab.device(server.port))
        listed = subprocess.run(["ssh-keygen", "-lf", f"{server.host_key}.pub"], check=True, capture_output=True, text=True)
        assert listed.stdout.split()[1] in caught.value.message
        fix = caught.value.fix or ""
        assert fix.startswith("ssh-keyscan -t ed25519")
        subprocess.run(["sh", "-c", fix], check=True, capture_output=True)
        with connect(lab.device(server.port)) as connection:
            assert connection.run(["true"], timeout_s=10).rc == 0

    def test_changed_key_shows_both_and_the_command_that_forgets_the_old_one(self, lab: Lab, sshd: Sshd) -> None:
        old = lab.folder / "old"
        make_key(old)
        words = Path(f"{old}.pub").read_text().split()
        lab.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} {words[0]} {words[1]}\n")
        with pytest.raises(HostKeyError, match="CHANGED") as caught:
            connect(lab.device(sshd.port))
        for key in (old, sshd.host_key):
            listed = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], check=True, capture_output=True, text=True)
            assert listed.stdout.split()[1] in caught.value.message
        command = (caught.value.fix or "").partition(": ")[2]
        assert command.startswith("ssh-keygen -R")
        subprocess.run(["sh", "-c", command], check=True, capture_output=True)
        with pytest.raises(HostKeyError, match="not known"):
            connect(lab.device(sshd.port))

    def test_hashed_names(self, lab: Lab, sshd: Sshd) -> None:
        subprocess.run(["ssh-keygen", "-H", "-f", str(lab.known_hosts)], check=True, capture_output=True)
        assert lab.known_hosts.read_text().startswith("|1|")
        with connect(lab.device(sshd.port)) as connection:
            assert connection.run(["true"], timeout_s=10).rc == 0

    def test_revoked_key(self, lab: Lab, sshd: Sshd) -> None:
        lab.known_hosts.write_text(lab.known_hosts.read_text() + "@revoked " + lab.known_hosts.read_text())
        with pytest.raises(HostKeyError, match="revoked"):
            connect(lab.device(sshd.port))

    def test_one_of_two_kinds_is_enough(self, lab: Lab, sshd: Sshd) -> None:
        rsa = sshd.folder / "host_rsa"
        subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(rsa)], check=True)
        server = lab.serve(known=False, options=f"HostKey {rsa}")
        kind, key, *_ = Path(f"{rsa}.pub").read_text().split()
        lab.known_hosts.write_text(f"[127.0.0.1]:{server.port} {kind} {key}\n")
        with connect(lab.device(server.port)) as connection:
            assert connection.run(["true"], timeout_s=10).rc == 0


class TestKeys:
    def test_wrong_key(self, lab: Lab, sshd: Sshd) -> None:
        other = lab.folder / "other"
        make_key(other)
        lab.config.write_text(lab.config.read_text().replace(str(lab.key), str(other)))
        with pytest.raises(AuthError) as caught:
            connect(lab.device(sshd.port))
        assert f"{other}: refused" in caught.value.message
        assert f"ssh-copy-id -F {lab.config} -p {sshd.port}" in (caught.value.fix or "")

    def test_no_key_at_all(self, lab: Lab, sshd: Sshd) -> None:
        lab.config.write_text(lab.config.read_text().replace(str(lab.key), str(lab.folder / "none")))
        with pytest.raises(AuthError, match="there is no key file and no agent"):
            connect(lab.device(sshd.port))

    def test_key_with_a_passphrase_wants_the_agent(self, lab: Lab, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
        subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(lab.key)], check=True)
        with pytest.raises(AuthError, match="has a passphrase and is not in the agent"):
            connect(lab.device(sshd.port))
        if not shutil.which("ssh-agent"):
            return
        subprocess.run(["ssh-keygen", "-q", "-p", "-P", "secret", "-N", "", "-f", str(lab.key)], check=True)
        sock = lab.folder / "agent.sock"
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.DEVNULL)
        try:
            while not sock.exists():
                time.sleep(0.01)
            monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
            subprocess.run(["ssh-add", "-q", str(lab.key)], check=True, capture_output=True)
            lab.key.unlink()
            with connect(lab.device(sshd.port)) as connection:
                assert connection.run(["true"], timeout_s=10).rc == 0
        finally:
            agent.terminate()
            agent.wait(10)


class TestFaults:
    def test_cut_link_in_mid_upload_and_going_on(self, lab: Lab, sshd: Sshd, tmp_path: Path) -> None:
        relay = lab.relay(sshd)
        source = _file(tmp_path / "source", 24 << 20)
        sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
        device = lab.device(relay.port)
        with connect(device) as connection, AgentSession(connection, device) as session:
            session.job("store.missing", timeout_s=30, blobs={sha256: 24 << 20})
            relay.hang_up_after = relay.passed + (10 << 20)
            with pytest.raises(LinkError, match="the connection broke"):
                session.push_blob(source, sha256, have_bytes=0)
        part = Path(device.root, "incoming", f"{sha256}.part")
        have = part.stat().st_size
        assert 4 << 20 < have < 24 << 20
        relay.hang_up_after = None
        start = relay.passed
        with connect(device) as connection, AgentSession(connection, device) as session:
            session.push_blob(source, sha256)
            assert session.job("store.missing", timeout_s=30, blobs={sha256: 24 << 20})["missing"] == []
        assert relay.passed - start < (24 << 20) - have + (2 << 20)
        assert not part.exists()

    @pytest.mark.parametrize("after_bytes", [100_000, 6 << 20])
    def test_dead_link_in_mid_upload(self, lab: Lab, sshd: Sshd, tmp_path: Path, after_bytes: int) -> None:
        relay = lab.relay(sshd)
        source = _file(tmp_path / "source", 24 << 20)
        with connect(lab.device(relay.port), timeout_s=2) as connection:
            relay.swallow_after = relay.passed + after_bytes
            start_s = time.monotonic()
            with pytest.raises(LinkError, match="dead"):
                connection.put(source, str(tmp_path / "there"))
            assert 1.5 < time.monotonic() - start_s < 6
            with pytest.raises(LinkError):
                connection.run(["true"], timeout_s=5)

    def test_dead_link_before_a_command(self, lab: Lab, sshd: Sshd) -> None:
        relay = lab.relay(sshd)
        with connect(lab.device(relay.port), timeout_s=1) as connection:
            relay.swallow_after = 0
            start_s = time.monotonic()
            with pytest.raises(LinkError):
                connection.run(["true"], timeout_s=30)
            assert time.monotonic() - start_s < 4

    def test_dead_link_behind_a_jump_host(self, lab: Lab, sshd: Sshd, tmp_path: Path) -> None:
        relay = lab.relay(lab.serve())
        lab.configure(f"Host inner\n  HostName 127.0.0.1\n  Port {sshd.port}\n  ProxyJump 127.0.0.1:{relay.port}\n")
        with connect(Device(name="inner", address=Address.parse("inner")), timeout_s=2) as connection:
            relay.swallow_after = relay.passed + 1_000_000
            start_s = time.monotonic()
            with pytest.raises(LinkError):
                connection.put(_file(tmp_path / "source", 16 << 20), str(tmp_path / "there"))
            assert time.monotonic() - start_s < 8

    def test_dead_link_under_a_silent_command(self, lab: Lab, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("edgekit.devices.watch._PULSE_S", 0.2)
        relay = lab.relay(sshd)

        def swallow(_: bytes) -> None:
            relay.swallow_after = 0

        with connect(lab.device(relay.port), timeout_s=0.7) as connection:
            assert connection.run(["sleep", "4"], timeout_s=30).rc == 0  # silent, not dead
            start_s = time.monotonic()
            with pytest.raises(LinkError, match="dead"):
                connection.run(["sh", "-c", "echo one; sleep 30"], timeout_s=25, on_line=swallow)
            assert time.monotonic() - start_s < 6

    def test_link_cut_under_a_command(self, lab: Lab, sshd: Sshd) -> None:
        relay = lab.relay(sshd)
        with connect(lab.device(relay.port)) as connection, pytest.raises(LinkError):
            connection.run(["sh", "-c", "echo one; sleep 30"], timeout_s=20, on_line=lambda line: relay.close())

    def test_server_that_never_speaks(self, lab: Lab) -> None:
        relay = lab.relay(lab.serve())
        relay.swallow_after = -1
        start_s = time.monotonic()
        with pytest.raises(DeviceError, match="no SSH session came up"):
            connect(lab.device(relay.port), timeout_s=1.5)
        assert time.monotonic() - start_s < 5

    @pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="a small disk of its own needs root and unshare")
    @pytest.mark.parametrize("options", [None, ""], ids=["sftp", "shell"])
    def test_full_disk(self, lab: Lab, tmp_path: Path, options: str | None) -> None:
        small = tmp_path / "small"
        small.mkdir()
        # In a mount namespace that ends with the server: nothing stays mounted.
        mount = f'mount -t tmpfs -o size=1m none {small} && exec "$@"'
        server = lab.serve(options=options, within=["unshare", "--mount", "sh", "-c", mount, "sh"])
        with connect(lab.device(server.port)) as connection:
            with pytest.raises(DeployError, match=r"no room for .* KiB free, \d+ KiB still to send"):
                connection.put(_file(tmp_path / "source", 3 << 20), str(small / "there"))
            assert connection.run(["true"], timeout_s=10).rc == 0

    def test_device_python_is_missing(self, lab: Lab, sshd: Sshd) -> None:
        device = lab.device(sshd.port, python="/nonexistent")
        with connect(device) as connection, pytest.raises(DeviceError, match="there is no Python at /nonexistent") as caught:
            AgentSession(connection, device).start()
        assert "python = ..." in (caught.value.fix or "")

    def test_something_else_than_the_agent_answers(self, lab: Lab, sshd: Sshd) -> None:
        fake = lab.folder / "python"
        fake.write_text(f'#!/bin/sh\nif [ "$1" = -c ]; then exec {sys.executable} "$@"; fi\necho Welcome to the board\n')
        fake.chmod(0o755)
        device = lab.device(sshd.port, python=str(fake))
        with connect(device) as connection, AgentSession(connection, device) as session:
            with pytest.raises(DeviceError, match="Welcome to the board"):
                session.facts()

    def test_agent_that_dies_shows_its_last_words(self, lab: Lab, sshd: Sshd) -> None:
        fake = lab.folder / "python"
        fake.write_text(f'#!/bin/sh\nif [ "$1" = -c ]; then exec {sys.executable} "$@"; fi\necho bad driver >&2\nkill -SEGV $$\n')
        fake.chmod(0o755)
        device = lab.device(sshd.port, python=str(fake))
        with connect(device) as connection, AgentSession(connection, device) as session, pytest.raises(DeviceError) as caught:
            session.facts()
        assert "signal" in caught.value.message
        assert "bad driver" in caught.value.message
