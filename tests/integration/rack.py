"""A rack of boards on one machine: each a network namespace with an address, a link and an OpenSSH server of its own. Needs root.

Used by the tests marked ``netns`` and by ``bench/fleet.py``. Everything made here is taken away again by `Rack.close`.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["Rack"]

_START_TIMEOUT_S = 30.0


class Rack:
    """Boards ``b1``, ``b2``, ... and the files that reach them: ``ssh_config`` and a project with all of them in the group ``rack``.

    Parameters
    ----------
    folder
        Where keys, logs and the boards' own folders stand.
    rate
        Of each board's link, either way, as tc(8) writes it: ``10mbit``. None leaves it as fast as the machine.
    """

    def __init__(self, folder: Path, boards: int, *, rate: str | None = None, sites: tuple[str, ...] = ()) -> None:
        self.folder, self.names = folder, [f"b{number}" for number in range(1, boards + 1)]
        self._tag = secrets.token_hex(2)
        self._net = f"10.{64 + secrets.randbelow(64)}.{secrets.randbelow(256)}"
        self._servers: list[subprocess.Popen[bytes]] = []
        self.config, self.project = folder / "ssh_config", folder / "project"
        self.project.mkdir(parents=True)
        folder.chmod(0o755)
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key"))
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host_key"))
        try:
            self._open(rate)
        except BaseException:
            self.close()
            raise
        self._write(sites)

    def _open(self, rate: str | None) -> None:
        bridge = f"rk{self._tag}"
        _run("ip", "link", "add", bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{self._net}.254/24", "dev", bridge)
        _run("ip", "link", "set", bridge, "up")
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for number, name in enumerate(self.names, 1):
            space, near = self.space(name), f"rk{self._tag}-{number}"
            _run("ip", "netns", "add", space)
            _run("ip", "link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", space)
            _run("ip", "link", "set", near, "master", bridge, "up")
            _run("ip", "-n", space, "addr", "add", f"{self.host(name)}/24", "dev", "eth0")
            _run("ip", "-n", space, "link", "set", "eth0", "up")
            _run("ip", "-n", space, "link", "set", "lo", "up")
            if rate:
                shape = ("root", "tbf", "rate", rate, "burst", "16kb", "latency", "300ms")
                _run("tc", "qdisc", "add", "dev", near, *shape)
                _run("ip", "netns", "exec", space, "tc", "qdisc", "add", "dev", "eth0", *shape)
            self._serve(name)
        for name in self.names:
            self._wait(name)

    def _serve(self, name: str) -> None:
        home = self.home(name)
        home.mkdir()
        config = home / "sshd_config"
        config.write_text(
            f"Port 22\nListenAddress {self.host(name)}\nHostKey {self.folder}/host_key\nPidFile none\nStrictModes no\nUsePAM no\n"
            f"UseDNS no\nAuthorizedKeysFile {self.folder}/key.pub\nPasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n"
            f"Subsystem sftp internal-sftp -d {home}\nSetEnv HOME={home} XDG_RUNTIME_DIR={home}\n"
        )
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
        words = ["ip", "netns", "exec", self.space(name), str(sshd), "-D", "-e", "-f", str(config)]
        with (home / "sshd.log").open("wb") as log:
            self._servers.append(subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True))

    def _wait(self, name: str) -> None:
        end_s = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < end_s:
            with suppress(OSError), socket.create_connection((self.host(name), 22), timeout=1) as link:
                if link.recv(4) == b"SSH-":
                    return
            time.sleep(0.05)
        raise RuntimeError(f"{name} does not answer:\n{(self.home(name) / 'sshd.log').read_text()}")

    def _write(self, sites: tuple[str, ...]) -> None:
        _, key = (self.folder / "host_key.pub").read_text().split()[:2]
        known = "".join(f"{self.host(name)} ssh-ed25519 {key}\n" for name in self.names)
        (self.folder / "known_hosts").write_text(known)
        self.config.write_text(
            f"Host *\n  User {getpass.getuser()}\n  IdentityFile {self.folder}/key\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.folder}/known_hosts\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n"
        )
        lines = []
        for number, name in enumerate(self.names):
            lines += [f"[devices.{name}]", f'address = "{self.host(name)}"', f'python = "{sys.executable}"', 'groups = ["rack"]']
            lines += [f'root = "{self.root(name)}"', *([f'site = "{sites[number % len(sites)]}"'] if sites else [])]
        (self.project / "edgekit.toml").write_text("\n".join(lines) + "\n")

    def space(self, name: str) -> str:
        """Return a board's namespace."""
        return f"rk{self._tag}{name}"

    def host(self, name: str) -> str:
        """Return a board's address."""
        return f"{self._net}.{self.names.index(name) + 1}"

    def home(self, name: str) -> Path:
        """Return a board's own folder."""
        return self.folder / name

    def root(self, name: str) -> Path:
        """Return edgekit's folder on a board."""
        return self.home(name) / "edgekit"

    def cut(self, name: str) -> None:
        """Pull a board's network cable."""
        _run("ip", "-n", self.space(name), "link", "set", "eth0", "down")

    def close(self) -> None:
        """End what runs on the boards, and take the boards away."""
        for server in self._servers:
            server.kill()
            server.wait()
        for name in self.names:
            inside = subprocess.run(["ip", "netns", "pids", self.space(name)], capture_output=True, text=True)
            for pid in inside.stdout.split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", self.space(name)], stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "del", f"rk{self._tag}"], stderr=subprocess.DEVNULL)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
