"""A board without a runtime gets one over SSH: fetched here, sent, unpacked, imported there."""

from __future__ import annotations

import hashlib
import sys
import venv
from pathlib import Path

import pytest

from edgekit.device import Device
from edgekit.devices import connect, provision
from edgekit.devices.session import AgentSession
from edgekit.devices.transfer import send
from edgekit.errors import DeployError, DeviceError
from tests.integration.conftest import Lab, Sshd

pytestmark = [pytest.mark.sshd, pytest.mark.slow]


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """This very Python without any package."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    return str(folder / "bin" / "python")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that outlives the single test."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def bare_board(lab: Lab, sshd: Sshd, bare_python: str, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setenv("XDG_CACHE_HOME", str(wheels))
    return lab.device(sshd.port, python=bare_python)


def _fetch_or_skip(session: AgentSession, kind: str = "tflite") -> list[Path]:
    lock = provision.choose_runtime(session.facts(), kind)
    try:
        return provision.fetch(lock)
    except DeviceError as error:
        pytest.skip(f"no wheels here: {error}")


@pytest.mark.parametrize(("kind", "wheel"), [("tflite", "ai_edge_litert"), ("onnxruntime", "onnxruntime")])
def test_setup_installs_what_fits_and_again_does_nothing(
    bare_board: Device, monkeypatch: pytest.MonkeyPatch, kind: str, wheel: str
) -> None:
    with connect(bare_board) as connection, AgentSession(connection, bare_board) as session:
        before = session.facts()
        assert (before.runtimes, before.numpy) == ((), None)
        _fetch_or_skip(session, kind)
        monkeypatch.setattr(sys, "executable", "/nonexistent")  # from here on the cache serves: no pip can run
        planned = provision.plan(session, before, kind)
        lock = provision.choose_runtime(before, kind)
        assert (planned.runtime, planned.there, planned.bytes_to_send) == (lock.folder, False, sum(one.bytes for one in planned.wheels))
        assert not Path(bare_board.root, "runtimes").exists()
        seen: list[str] = []
        after = provision.setup(session, before, kind, lambda stage, done, total: seen.append(stage))
        (runtime,) = after.runtimes
        assert (runtime.kind, runtime.lock, runtime.error) == (kind, lock.folder, None)
        assert after.numpy == lock.pins[1].version
        assert {"send", "install"} <= set(seen)
        assert any(entry.name.startswith(wheel) for entry in planned.wheels)
        assert provision.setup(session, after, kind) is after
        assert provision.plan(session, after, kind).there


def test_setup_goes_on_after_a_cut(lab: Lab, sshd: Sshd, bare_board: Device) -> None:
    relay = lab.relay(sshd)
    device = lab.device(relay.port, python=bare_board.python, root=Path(bare_board.root))
    with connect(device) as connection, AgentSession(connection, device) as session:
        facts = session.facts()
        total = sum(wheel.stat().st_size for wheel in _fetch_or_skip(session))
        relay.hang_up_after = relay.passed + total // 2
        with pytest.raises(DeviceError, match="the connection broke"):
            provision.setup(session, facts, "tflite")
    relay.hang_up_after, start = None, relay.passed
    with connect(device) as connection, AgentSession(connection, device) as session:
        assert provision.setup(session, session.facts(), "tflite").runtimes[0].error is None
    assert relay.passed - start < total * 3 // 4


def test_damaged_cache_is_fetched_again(bare_board: Device) -> None:
    with connect(bare_board) as connection, AgentSession(connection, bare_board) as session:
        wheel = _fetch_or_skip(session)[0]
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        with wheel.open("r+b") as file:
            file.write(b"damaged")
        (again, *_) = _fetch_or_skip(session)
        assert hashlib.sha256(again.read_bytes()).hexdigest() == digest


def test_too_small_a_disk_is_told_before_anything_is_sent(bare_board: Device) -> None:
    with connect(bare_board) as connection, AgentSession(connection, bare_board) as session:
        facts = session.facts()
        _fetch_or_skip(session)
        small = type(facts)(**{**{name: getattr(facts, name) for name in facts.__struct_fields__}, "disk_free_bytes": 1 << 20})
        with pytest.raises(DeployError, match=r"1 MiB free, the runtime .* needs .* nothing was sent"):
            provision.setup(session, small, "tflite")
        assert list(Path(bare_board.root, "incoming").iterdir()) == []


def test_not_a_byte_of_another_wheel_is_taken(bare_board: Device, tmp_path: Path) -> None:
    """The device compares what arrives with the digest, whatever sent it."""
    with connect(bare_board) as connection, AgentSession(connection, bare_board) as session:
        wheel = tmp_path / "numpy-2.4.6-cp311-cp311-linux_x86_64.whl"
        wheel.write_bytes(b"PK")
        with pytest.raises(DeployError):
            send(session, {"0" * 64: wheel})
