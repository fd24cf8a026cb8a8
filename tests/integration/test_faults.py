"""Cut links, dead links, full disks, strange answers: what each is turned into, and that nothing hangs."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from edgekit.device import Address, Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.devices.transfer import ask, send
from edgekit.errors import DeployError, DeviceError, LinkError
from tests.integration.conftest import Lab, Sshd

pytestmark = pytest.mark.sshd


def _file(path: Path, size_bytes: int) -> Path:
    path.write_bytes(hashlib.shake_128(b"edgekit").digest(size_bytes))
    return path


class TestFaults:
    def test_cut_link_in_mid_transfer_and_going_on(self, lab: Lab, sshd: Sshd, tmp_path: Path) -> None:
        relay = lab.relay(sshd)
        source = _file(tmp_path / "source", 24 << 20)
        sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
        device = lab.device(relay.port)
        with connect(device) as connection, AgentSession(connection, device) as session:
            relay.hang_up_after = relay.passed + (10 << 20)
            with pytest.raises(LinkError, match="the connection broke"):
                send(session, {sha256: source})
        part = Path(device.root, "incoming", f"{sha256}.part")
        have = part.stat().st_size
        assert 4 << 20 < have < 24 << 20
        relay.hang_up_after = None
        start = relay.passed
        with connect(device) as connection, AgentSession(connection, device) as session:
            send(session, {sha256: source})
            assert ask(session, {sha256: source}).gaps == ()
        assert relay.passed - start < (24 << 20) - have + (1 << 20)
        assert not part.exists()

    @pytest.mark.parametrize("after_bytes", [100_000, 6 << 20])
    def test_dead_link_in_mid_transfer(self, lab: Lab, sshd: Sshd, tmp_path: Path, after_bytes: int) -> None:
        relay = lab.relay(sshd)
        source = _file(tmp_path / "source", 24 << 20)
        device = lab.device(relay.port)
        with connect(device, timeout_s=2) as connection, AgentSession(connection, device) as session:
            relay.swallow_after = relay.passed + after_bytes
            start_s = time.monotonic()
            with pytest.raises(LinkError, match="dead"):
                send(session, {hashlib.sha256(source.read_bytes()).hexdigest(): source})
            assert time.monotonic() - start_s < 12
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
                connection.run(["cat"], stdin=bytes(16 << 20), timeout_s=60, on_line=lambda line: None)
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

    def test_connect_timeout_of_ssh_config_may_be_longer(self, lab: Lab, sshd: Sshd) -> None:
        relay = lab.relay(sshd)
        relay.swallow_after = -1
        lab.configure("ConnectTimeout 3s\n")
        start_s = time.monotonic()
        with pytest.raises(DeviceError, match="no SSH session came up"):
            connect(lab.device(relay.port), timeout_s=0.5)
        assert 2.5 < time.monotonic() - start_s < 8

    def test_server_that_never_speaks(self, lab: Lab) -> None:
        relay = lab.relay(lab.serve())
        relay.swallow_after = -1
        start_s = time.monotonic()
        with pytest.raises(DeviceError, match="no SSH session came up"):
            connect(lab.device(relay.port), timeout_s=1.5)
        assert time.monotonic() - start_s < 5

    @pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="a small disk of its own needs root and unshare")
    @pytest.mark.parametrize("agent", ["sent", "there"])
    def test_full_disk(self, lab: Lab, tmp_path: Path, agent: str) -> None:
        small = tmp_path / "small"
        small.mkdir()
        # In a mount namespace that ends with the server: nothing stays mounted.
        mount = f'mount -t tmpfs -o size={"100k" if agent == "sent" else "18m"},mode=755 none {small} && exec "$@"'
        server = lab.serve(within=["unshare", "--mount", "sh", "-c", mount, "sh"])
        device = lab.device(server.port, root=small / "root")
        source = _file(tmp_path / "source", 3 << 20)
        with connect(device) as connection:
            with pytest.raises(DeployError, match="no room for the agent" if agent == "sent" else r"\d+ MiB free, 1\d MiB needed"):
                with AgentSession(connection, device) as session:
                    send(session, {hashlib.sha256(source.read_bytes()).hexdigest(): source}, more_bytes=16 << 20)
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
