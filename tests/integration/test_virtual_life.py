"""Virtual boards come and go: who may log in, and that nothing of one is left, whoever ended what, and when."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edgekit.virtual import Process, boards, home
from tests.integration.command import edgekit
from tests.integration.virtual import bring_up

pytestmark = [pytest.mark.arm64]


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    yield bring_up("rpi4", monkeypatch, tmp_path)
    edgekit("virtual", "down", "--all", cwd=tmp_path)


def ssh(board: dict[str, Any], *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = ["ssh", "-F", board["ssh_config"], "-o", "BatchMode=yes", *options, board["name"], *words]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def members(board: dict[str, Any]) -> dict[Process, str]:
    """Return every process of a board, with its process namespace; the one that we began stands outside it."""
    (first,) = Path(f"/proc/{board['pid']}/task/{board['pid']}/children").read_text().split()
    inside = str(Path(f"/proc/{first}/ns/pid").readlink())
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            process = Process.of(int(entry.name))
            if process and (str((entry / "ns/pid").readlink()) == inside or entry.name == str(board["pid"])):
                found[process] = inside
    return found


def nothing_is_left(board: dict[str, Any], were: dict[Process, str]) -> None:
    assert not [process for process in were if process.runs]
    ours = set(were.values()) - {str(Path("/proc/self/ns/pid").readlink())}
    end_s = time.monotonic() + 20
    while ours & namespaces() and time.monotonic() < end_s:  # until the first process of this machine has collected the dead
        time.sleep(0.05)
    assert not ours & namespaces()
    assert board["folder"] not in Path("/proc/self/mountinfo").read_text()
    assert not list(home().iterdir())


def namespaces() -> set[str]:
    """Return the process namespaces of all that run or have not been collected."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/ns/pid"):
        with suppress(OSError):
            found.add(str(entry.readlink()))
    return found


def test_up_twice_list_and_down(board: dict[str, Any], tmp_path: Path) -> None:
    again = edgekit("virtual", "up", "rpi4", "--json", cwd=tmp_path)
    assert (again.code, again.document["board"], again.document["was_up"]) == (0, board, True)
    listed = edgekit("virtual", "list", "--json", cwd=tmp_path).document["boards"]
    assert listed == [board]
    assert (board["name"], board["target"], board["state"]) == ("virtual-rpi4", "rpi4", "up")
    assert board["address"].startswith("127.0.0.1:")
    interpreters = sorted(Path("/proc/sys/fs/binfmt_misc").iterdir())

    assert ssh(board, "uname -m; nohup sleep 1000 >/dev/null 2>&1 & echo $HOME").stdout == "aarch64\n/root\n"
    were = members(board)
    assert len(were) >= 3, "the one that we began, the server, and what outlived its session"
    assert edgekit("virtual", "down", "virtual-rpi4", "--json", cwd=tmp_path).document["down"] == ["virtual-rpi4"]
    nothing_is_left(board, were)
    assert sorted(Path("/proc/sys/fs/binfmt_misc").iterdir()) == interpreters
    assert edgekit("virtual", "list", "--json", cwd=tmp_path).document["boards"] == []
    edgekit("deploy", "virtual-rpi4", cwd=tmp_path).refused(5, "virtual-rpi4 is not up", "edgekit virtual up rpi4")


@pytest.mark.parametrize("who", ["server", "keeper"])
def test_a_board_that_was_killed(board: dict[str, Any], tmp_path: Path, who: str) -> None:
    """Whichever of its first two processes is killed: all of it ends, is said to have ended, and is brought up anew or taken down."""
    assert ssh(board, "nohup sleep 1000 >/dev/null 2>&1 & true").returncode == 0
    were = members(board)
    (server,) = Path(f"/proc/{board['pid']}/task/{board['pid']}/children").read_text().split()
    os.kill(int(server) if who == "server" else board["pid"], signal.SIGKILL)
    end_s = time.monotonic() + 20
    while any(process.runs for process in were):
        assert time.monotonic() < end_s, "the kernel ends what is in the namespace"
        time.sleep(0.02)
    (listed,) = edgekit("virtual", "list", "--json", cwd=tmp_path).document["boards"]
    assert listed["state"] == "ended"
    edgekit("device", "facts", board["name"], cwd=tmp_path).refused(5, "virtual-rpi4 has ended", "edgekit virtual up rpi4")
    if who == "server":
        anew = edgekit("virtual", "up", "rpi4", "--json", cwd=tmp_path).document
        assert (anew["was_up"], anew["board"]["state"]) == (False, "up")
        assert ssh(anew["board"], "true").returncode == 0
        were |= members(anew["board"])
    assert edgekit("virtual", "down", "--all", cwd=tmp_path).code == 0
    nothing_is_left(board, were)


def test_only_its_own_key_opens_it_and_it_is_known_nowhere_else(board: dict[str, Any], tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    other = ssh(board, "true", options=("-o", f"IdentityFile={tmp_path / 'other'}", "-i", str(tmp_path / "other"), "-F", "none"))
    assert other.returncode == 255
    forward = ssh(board, "true", options=("-o", "ExitOnForwardFailure=yes", "-W", "127.0.0.1:1"))
    assert forward.returncode != 0, "it is no way into this machine's loopback"
    folder = Path(board["folder"])
    assert not (Path.home() / ".ssh").exists()
    assert folder.stat().st_mode & 0o077 == 0
    (line,) = (folder / "known_hosts").read_text().splitlines()
    (folder / "known_hosts").write_text(line[:-8] + "AAAAAAAA\n")
    edgekit("device", "facts", board["name"], cwd=tmp_path).refused(5, "the host key")


def test_what_it_runs_cannot_be_written_to(board: dict[str, Any]) -> None:
    said = ssh(board, "echo there >/tmp/x; touch /usr/x /etc/x; cat /tmp/x; id -u")
    assert said.stdout == "there\n0\n"
    assert said.stderr.count("Read-only file system") == 2
    assert "Read-only" in ssh(board, "read now </proc/sys/vm/swappiness; echo $now >/proc/sys/vm/swappiness").stderr
    assert ssh(board, "ls /dev").stdout.split() == ["fd", "full", "null", "pts", "random", "shm", "tty", "urandom", "zero"]
    assert ssh(board, "cat /tmp/x").stdout == "there\n", "as on a board, /tmp is one for all sessions"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_at_any_moment(board: dict[str, Any], tmp_path: Path, number: signal.Signals) -> None:
    """``up`` undoes what it began, or has just ended: then the board is whole. After SIGKILL, the next ``down`` undoes it."""
    assert edgekit("virtual", "down", "--all", cwd=tmp_path).code == 0
    for moment in range(8):
        command = [sys.executable, "-m", "edgekit", "virtual", "up", "rpi4"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        wait_for(home() / "virtual-rpi4", process, moment)
        os.killpg(process.pid, number)
        code = process.wait(60)
        ended = code == 0 or (number != signal.SIGKILL and any(home().iterdir()))
        if ended:
            assert [found.process.runs for found in boards()] == [True], (moment, code)
        if ended or number == signal.SIGKILL:
            assert edgekit("virtual", "down", "--all", cwd=tmp_path).code == 0
        assert not list(home().iterdir()), (moment, code)
        mine = [entry for entry in Path("/proc").glob("[0-9]*/cmdline") if mentions(entry, str(home()))]
        assert not mine, (moment, code)


def test_interrupted_while_its_system_is_fetched(board: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert edgekit("virtual", "down", "--all", cwd=tmp_path).code == 0
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    command = [sys.executable, "-m", "edgekit", "virtual", "up", "rpi4"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while not list(tmp_path.glob("edgekit-*/mmdebstrap.*")) and process.poll() is None:  # it has begun
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    assert [path.suffix for path in (cache / "edgekit" / "virtual").iterdir()] == [".lock"]
    assert not list(home().iterdir())
    assert not list(tmp_path.glob("edgekit-*"))


def wait_for(folder: Path, process: subprocess.Popen[bytes], moment: int) -> None:
    """Wait for a moment of ``up``: the folder is made, a file in it is written, or some time after."""
    names = ("", "key", "host_key", "enter", "known_hosts", "process.json", "log", "board.json")
    while not (folder / names[moment]).exists() and process.poll() is None:
        time.sleep(0.0005)


def mentions(path: Path, word: str) -> bool:
    try:
        return word in path.read_text(errors="replace")
    except OSError:
        return False


@pytest.mark.parametrize(
    ("there", "missing", "fix"),
    [
        ((), "no OpenSSH server", "apt install openssh-server"),
        (("ssh-keygen", "sshd"), "no qemu-aarch64-static", "apt install qemu-user-static"),
        (("ssh-keygen", "sshd", "qemu-aarch64-static"), "no unshare", "apt install util-linux"),
        (("ssh-keygen", "sshd", "qemu-aarch64-static", "unshare", "sh", "true", "mount"), "no mmdebstrap", "apt install mmdebstrap"),
    ],
)
def test_what_is_missing_is_said(there: tuple[str, ...], missing: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in there:
        found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if found is None:
            pytest.skip(f"no {name} here")
        (programs / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(programs))
    edgekit("virtual", "up", "rpi4", cwd=tmp_path).refused(5, missing, fix)
    assert not list(home().iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("up", "rpi3-armv6"), "did you mean 'rpi3-armv7'?"),
        (("up", "jetson"), "one of rpi4, rpi5, rpi3-armv7"),
        (("down",), "which board?"),
        (("down", "virtual-rpi4"), "no virtual board is called 'virtual-rpi4'"),
        (("down", "--all", "virtual-rpi4"), "which board?"),
    ],
)
def test_words_that_make_no_sense(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    edgekit("virtual", *words, cwd=tmp_path).refused(2, said)
