"""Jobs on this machine, and an interpreter that answers other things than the agent would."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgekit.device import Address, Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.devices.transfer import send
from edgekit.errors import BusyError, DeadlineError, DeployError, DeviceError, EdgekitError, InputError


@contextmanager
def _session(root: Path, python: str | None = None) -> Iterator[AgentSession]:
    device = Device(name="bench", address=Address.parse("local"), root=str(root), python=python)
    with connect(device) as connection, AgentSession(connection, device) as session:
        yield session


@contextmanager
def _answering(folder: Path, script: str) -> Iterator[AgentSession]:
    """Start a session whose Python is real for the start and a shell script for the jobs."""
    fake = folder / "python"
    fake.write_text(f'#!/bin/sh\nif [ "$1" = -c ]; then exec {sys.executable} "$@"; fi\n{script}\n')
    fake.chmod(0o755)
    with _session(folder / "root", str(fake)) as session:
        yield session


def test_facts(tmp_path: Path) -> None:
    with _session(tmp_path / "root") as session:
        facts = session.facts()
    assert facts.python == ".".join(map(str, sys.version_info[:3]))
    assert facts.python_path == sys.executable


def test_root_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeviceError, match="cannot prepare"), _session(tmp_path / "file" / "root"):
        pass


def test_old_python(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\necho \'{"version": [3, 7, 16], "agent": null}\'\n')
    fake.chmod(0o755)
    with pytest.raises(DeviceError, match=r"Python 3\.7\.16 is too old; the agent needs 3\.8") as caught, _session(tmp_path, str(fake)):
        pass
    assert "python = ..." in (caught.value.fix or "")


def test_no_python(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="there is no Python at /nonexistent"), _session(tmp_path, "/nonexistent"):
        pass


def test_something_that_is_no_python(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="did not answer as a Python does"), _session(tmp_path, "/bin/echo"):
        pass


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("input", InputError),
        ("usage", DeviceError),
        ("runtime-missing", DeviceError),
        ("runtime-failed", DeviceError),
        ("no-space", DeployError),
        ("mismatch", DeployError),
        ("state", DeployError),
        ("busy", BusyError),
        ("stopped", DeviceError),
        ("bug", DeviceError),
        ("never heard of", DeviceError),
    ],
)
def test_errors_of_the_agent(tmp_path: Path, kind: str, error: type[EdgekitError]) -> None:
    line = f'{{"event":"error","kind":"{kind}","message":"it is so","fix":"do this"}}'
    with (
        _answering(tmp_path, f"echo '{line}'; exit 1") as session,
        pytest.raises(error, match=r"local: .*it is so \(the device says: do this\)") as caught,
    ):
        session.job("facts", timeout_s=10)
    assert type(caught.value) is error
    assert caught.value.fix != "do this"
    if kind == "runtime-missing":
        assert caught.value.fix == "edgekit device setup bench"


_RESULT = 'echo \'{"event":"result","data":{"x":1}}\''


def test_progress_then_result(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    script = f'echo \'{{"event":"progress","stage":"warm","done":1,"total":2}}\'; {_RESULT}'
    with _answering(tmp_path, script) as session:
        assert session.job("facts", timeout_s=10, progress=lambda *step: seen.append(step)) == {"x": 1}
    assert seen == [("warm", 1, 2)]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo Welcome", "answered b'Welcome'"),
        ('echo \'{"event":"result"}\'', "is not an event"),
        (f"{_RESULT}; {_RESULT}", "nothing may follow the result"),
        ("printf '\\377\\376\\n'", "answered b'"),
        ("echo '[1]'", "is not an event"),
        (f"{_RESULT}; echo trouble >&2; exit 3", "ended with status 3 without an answer\n    trouble"),
        ("echo driver >&2; kill -SEGV $$", "killed by signal 11 without an answer\n    driver"),
        ("exit 0", "ended with status 0 without an answer"),
    ],
)
def test_answers_that_are_none(tmp_path: Path, script: str, message: str) -> None:
    with _answering(tmp_path, script) as session, pytest.raises(DeviceError) as caught:
        session.job("facts", timeout_s=10)
    assert message in caught.value.message


def test_facts_that_are_none(tmp_path: Path) -> None:
    with _answering(tmp_path, _RESULT) as session, pytest.raises(DeviceError, match="facts are not as they must be"):
        session.facts()


def test_deadline(tmp_path: Path) -> None:
    with _answering(tmp_path, "sleep 30") as session, pytest.raises(DeadlineError):
        session.job("facts", timeout_s=0.3)


@pytest.mark.parametrize("part", ["", "agent", "incoming", "blobs", "apps", "runtimes"])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, part: str) -> None:
    root = tmp_path / "it's a root"
    (root / part).mkdir(parents=True)
    (root / part).chmod(0o775)
    with pytest.raises(DeviceError, match="others may write to") as caught, _session(root):
        pass
    place, _, command = (caught.value.fix or "").partition(": ")
    assert place == "on the board"
    subprocess.run(["sh", "-c", command], check=True)
    with _session(root) as session:
        assert session.facts().cores >= 1
    assert stat.S_IMODE((root / "agent").stat().st_mode) in (0o700, 0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder away needs root")
def test_a_root_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    os.chown(tmp_path / "root", 12345, 12345)
    with pytest.raises(DeviceError, match="belongs to another user"), _session(tmp_path / "root"):
        pass


def test_blobs_on_another_file_system_are_refused(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")
    with tempfile.TemporaryDirectory(dir=other) as folder:
        (tmp_path / "root").mkdir(0o700)
        (tmp_path / "root" / "blobs").symlink_to(folder)
        with pytest.raises(DeviceError, match="blobs is on another file system"), _session(tmp_path / "root"):
            pass


def test_root_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to("real")
    (tmp_path / "model").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    with _session(tmp_path / "root") as session:
        send(session, {digest: tmp_path / "model"})
    assert (tmp_path / "real" / "blobs" / "sha256" / digest).read_bytes() == b"weights"


def test_hosts_that_come_at_the_same_time(tmp_path: Path) -> None:
    """All send the same into a fresh root: agent, blobs, release."""
    files = {f"part{number}": os.urandom(300_000) for number in range(3)}
    listed = [{"path": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()]
    files["manifest.json"] = json.dumps({"schema": "edgekit.bundle/1", "files": listed}).encode()
    release = hashlib.sha256(files["manifest.json"]).hexdigest()
    listed.append({"path": "manifest.json", "sha256": release, "bytes": len(files["manifest.json"])})
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)

    def deploy(_: int) -> bool:
        with _session(tmp_path / "root") as session:
            send(session, {str(entry["sha256"]): tmp_path / str(entry["path"]) for entry in listed})
            session.job("store.stage", timeout_s=60, app="meter", release=release, files=listed)
            return bool(session.job("store.status", timeout_s=60, app="meter")["apps"])

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(deploy, range(3))) == [True, True, True]
    assert list((tmp_path / "root" / "incoming").iterdir()) == []
    assert [path.suffix for path in (tmp_path / "root" / "agent").iterdir()] == [".pyz"]


def test_what_a_device_says_cannot_steer_the_terminal(tmp_path: Path) -> None:
    line = '{"event":"error","kind":"state","message":"a\\u001b[2Jb\\u202e\\u009bc\\nfix: sh evil","fix":"rm\\u0007 -r /"}'
    with _answering(tmp_path, f"printf '%s\\n' '{line}'; exit 1") as session, pytest.raises(DeployError) as caught:
        session.job("facts", timeout_s=10)
    assert caught.value.message == "local: a\ufffd[2Jb\ufffd\ufffdc fix: sh evil (the device says: rm\ufffd -r /)"
    assert caught.value.fix is None
    with (
        _answering(tmp_path, "printf 'bad\\033[2J driver\\n\\342\\200\\256x' >&2; exit 3") as session,
        pytest.raises(DeviceError) as died,
    ):
        session.job("facts", timeout_s=10)
    assert died.value.message.endswith("without an answer\n    bad\ufffd[2J driver\n    \ufffdx")
    result = '{"event":"result","data":{"board":["\\u001b]0;x\\u0007"]}}'
    with _answering(tmp_path, f"printf '%s\\n' '{result}'") as session:
        assert session.job("facts", timeout_s=10) == {"board": ["\ufffd]0;x\ufffd"]}


@pytest.mark.parametrize("value", ["x" * (8 << 20), float("nan")], ids=["long", "nan"])
def test_a_job_that_cannot_be_sent(tmp_path: Path, value: object) -> None:
    with _session(tmp_path / "root") as session, pytest.raises(InputError, match="job facts cannot be sent"):
        session.job("facts", timeout_s=10, value=value)


def test_an_answer_longer_than_the_job_may_give(tmp_path: Path) -> None:
    script = f"""exec {sys.executable} -c 'print("[" + "1," * 600000 + "1]")'"""
    with _answering(tmp_path, script) as session, pytest.raises(DeviceError, match="longer than 1048576 bytes"):
        session.job("store.status", timeout_s=10)
