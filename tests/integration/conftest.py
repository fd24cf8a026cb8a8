"""Real OpenSSH servers on loopback, run by the current user, each with keys and files of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgekit.device import Address, Device

_START_TIMEOUT_S = 10.0


@dataclass
class Sshd:
    """A running server and the client files that reach it."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]
    host: str = "127.0.0.1"

    @property
    def host_key(self) -> Path:
        return self.folder / "host_ed25519"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@dataclass
class Lab:
    """Servers and the one ssh_config that EDGEKIT_SSH_CONFIG names."""

    folder: Path
    config: Path
    known_hosts: Path
    key: Path
    servers: list[Sshd] = field(default_factory=list)
    relays: list[Relay] = field(default_factory=list)

    def serve(self, *, known: bool = True, options: str | None = None, within: Sequence[str] = (), host: str = "127.0.0.1") -> Sshd:
        """Start a server; ``known`` puts its host key into known_hosts, ``within`` is a command that runs it, ``host`` its address."""
        folder = self.folder / f"sshd{len(self.servers)}"
        (folder / "home").mkdir(parents=True)
        if options is None:
            options = f"Subsystem sftp internal-sftp -d {folder}/home"
        make_key(folder / "host_ed25519")
        port = free_port()
        config = folder / "sshd_config"
        config.write_text(
            f"Port {port}\nListenAddress {host}\nHostKey {folder}/host_ed25519\nPidFile none\nStrictModes no\nUsePAM no\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nLogLevel VERBOSE\n"
            f"PermitRootLogin yes\nSetEnv HOME={folder}/home\n{options}\n"
        )
        shutil.copy(f"{self.key}.pub", folder / "authorized_keys")
        with (folder / "log").open("wb") as log:
            words = [*within, str(_sshd()), "-D", "-e", "-f", str(config)]
            process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        server = Sshd(port=port, folder=folder, process=process, host=host)
        self.servers.append(server)
        wait_for_banner(server)
        if known:
            self.trust(server, port)
        return server

    def trust(self, server: Sshd, port: int) -> None:
        kind, key, *_ = Path(f"{server.host_key}.pub").read_text().split()
        with self.known_hosts.open("a") as file:
            file.write(f"[{server.host}]:{port} {kind} {key}\n")

    def device(self, port: int, *, python: str | None = None, root: Path | None = None, host: str = "127.0.0.1") -> Device:
        """Describe the device behind a port; its root is a folder of its own."""
        address = Address(host=host, user=getpass.getuser(), port=port)
        return Device(name="board", address=address, python=python, root=str(root or self.folder / f"root{port}"))

    def relay(self, server: Sshd) -> Relay:
        """Put a relay before a server; its port is as trusted as the server's."""
        relay = Relay(server.port)
        self.relays.append(relay)
        self.trust(server, relay.port)
        return relay

    def configure(self, text: str) -> None:
        """Add to the ssh_config, before its general part."""
        self.config.write_text(text + "\n" + self.config.read_text())

    def stop(self) -> None:
        for relay in self.relays:
            relay.close()
        for server in self.servers:
            server.process.terminate()
            server.process.wait(_START_TIMEOUT_S)


class Relay:
    """A TCP relay on loopback that can stop forwarding, or hang up once, after some bytes towards the server."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.swallow_after: int | None = None
        self.hang_up_after: int | None = None
        self.passed = 0
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target_port))
            self._sockets += [near, far]
            for source, target, up in ((near, far, True), (far, near, False)):
                thread = threading.Thread(target=self._pump, args=(source, target, up), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 14):
                if up:
                    self.passed += len(data)
                if self.hang_up_after is not None and self.passed > self.hang_up_after:
                    self.hang_up_after = None
                    break
                if self.swallow_after is None or self.passed <= self.swallow_after:
                    target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Hang up on everybody; whoever comes again is served."""
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):  # closed before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_START_TIMEOUT_S)
        for end in self._sockets:
            end.close()


def make_lab(folder: Path) -> Lab:
    """Make an empty lab in a folder: keys, ssh_config and known_hosts of its own, no servers yet."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where a server of root's lets its helpers live (sshd(8), privilege separation)
    folder.chmod(0o755)
    lab = Lab(folder=folder, config=folder / "ssh_config", known_hosts=folder / "known_hosts", key=folder / "id_ed25519")
    make_key(lab.key)
    lab.known_hosts.touch()
    lab.config.write_text(
        f"Host *\n  IdentityFile {lab.key}\n  IdentitiesOnly yes\n  UserKnownHostsFile {lab.known_hosts}\n  GlobalKnownHostsFile none\n"
    )
    return lab


def make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)


def free_port() -> int:
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def wait_for_banner(server: Sshd) -> None:
    end_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < end_s:
        if server.process.poll() is not None:
            break
        with suppress(OSError), socket.create_connection((server.host, server.port), timeout=1) as sock:
            if sock.recv(4) == b"SSH-":
                return
        time.sleep(0.02)
    raise RuntimeError(f"sshd does not answer:\n{server.log}")


def _sshd() -> str | None:
    return shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """See `make_lab`."""
    if _sshd() is None or shutil.which("ssh-keygen") is None:
        pytest.skip("no OpenSSH server here: sudo apt install openssh-server")
    lab = make_lab(tmp_path)
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(lab.config))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    try:
        yield lab
    finally:
        lab.stop()


@pytest.fixture
def sshd(lab: Lab) -> Sshd:
    """A server that is trusted and lets us in."""
    return lab.serve()


@pytest.fixture
def board(lab: Lab, sshd: Sshd) -> Device:
    """The device behind `sshd`."""
    return lab.device(sshd.port)


@pytest.fixture
def serve_board(lab: Lab) -> Callable[[], Device]:
    """Make further devices, each with a server and a root of its own."""
    return lambda: lab.device(lab.serve().port)
