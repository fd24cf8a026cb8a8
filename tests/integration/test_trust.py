"""Which boards are let near, and with which keys: host keys and logins against real servers."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from edgekit.devices import connect
from edgekit.errors import AuthError, HostKeyError
from tests.integration.conftest import Lab, Sshd, make_key

pytestmark = pytest.mark.sshd


class TestHostKeys:
    @pytest.mark.parametrize("place", ["known_hosts", "torn", "new folder's/known_hosts"])
    def test_unknown_key_shows_its_fingerprint_and_the_command_that_accepts_it(self, lab: Lab, place: str) -> None:
        server = lab.serve(known=False)
        known = lab.folder / place
        if place == "torn":
            known.write_text("# a line without its end")
        lab.config.write_text(lab.config.read_text().replace(str(lab.known_hosts), f'"{known}"'))
        with pytest.raises(HostKeyError) as caught:
            connect(lab.device(server.port))
        listed = subprocess.run(["ssh-keygen", "-lf", f"{server.host_key}.pub"], check=True, capture_output=True, text=True)
        assert listed.stdout.split()[1] in caught.value.message
        fix = caught.value.fix or ""
        subprocess.run(["sh", "-c", fix], check=True, capture_output=True)
        words = Path(f"{server.host_key}.pub").read_text().split()
        assert known.read_text().splitlines()[-1] == f"[127.0.0.1]:{server.port} {words[0]} {words[1]}"
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
