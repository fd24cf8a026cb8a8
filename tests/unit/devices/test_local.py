from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.device import Address, Device
from edgekit.devices import OUTPUT_BYTES_MAX, Connection, connect
from edgekit.errors import DeadlineError, DeviceError


@pytest.fixture
def connection() -> Iterator[Connection]:
    with connect(Device(name="host", address=Address.parse("local"))) as connection:
        yield connection


def test_run(connection: Connection) -> None:
    done = connection.run(["sh", "-c", "cat; echo two >&2; exit 7"], stdin=b"one", timeout_s=10)
    assert (done.rc, done.stdout, done.stderr) == (7, b"one", b"two\n")


def test_big_input_and_output_at_once(connection: Connection) -> None:
    data = os.urandom(4 << 20)
    assert connection.run(["cat"], stdin=data, timeout_s=30).stdout == data


def test_command_that_does_not_read_its_input(connection: Connection) -> None:
    assert connection.run(["true"], stdin=bytes(4 << 20), timeout_s=10).rc == 0


def test_lines(connection: Connection) -> None:
    lines: list[bytes] = []
    done = connection.run(["printf", r"one\n\ntwo\nthree"], timeout_s=10, on_line=lines.append)
    assert lines == [b"one", b"", b"two", b"three"]
    assert done.stdout == b""


def test_missing_program_ends_like_in_a_shell(connection: Connection) -> None:
    assert connection.run(["/nonexistent"], timeout_s=10).rc == 127
    assert connection.run(["/etc/passwd"], timeout_s=10).rc == 126


def test_killed_command(connection: Connection) -> None:
    assert connection.run(["sh", "-c", "kill -9 $$"], timeout_s=10).rc == -9


def test_deadline_ends_the_whole_family(connection: Connection, tmp_path: Path) -> None:
    script = f"(sleep 1; touch {tmp_path}/alive) & sleep 30"
    start_s = time.monotonic()
    with pytest.raises(DeadlineError, match=r"sh did not end within 0\.3 s"):
        connection.run(["sh", "-c", script], timeout_s=0.3)
    assert time.monotonic() - start_s < 1
    time.sleep(1.2)
    assert not (tmp_path / "alive").exists()


def test_what_the_line_callback_raises_ends_the_command(connection: Connection) -> None:
    def refuse(line: bytes) -> None:
        raise ValueError(line)

    start_s = time.monotonic()
    with pytest.raises(ValueError, match="one"):
        connection.run(["sh", "-c", "echo one; sleep 30"], timeout_s=60, on_line=refuse)
    assert time.monotonic() - start_s < 5


def test_endless_output_is_cut(connection: Connection) -> None:
    with pytest.raises(DeviceError, match="more than 64 MiB in one line"):
        connection.run(["sh", "-c", "cat /dev/zero"], timeout_s=60, on_line=lambda line: None)
    assert OUTPUT_BYTES_MAX == 64 << 20


def test_only_the_tail_of_stderr_is_kept(connection: Connection) -> None:
    done = connection.run([sys.executable, "-c", "import sys; sys.stderr.write('x' * 300000 + 'end')"], timeout_s=10)
    assert done.stderr.endswith(b"xend")
    assert len(done.stderr) == 64 << 10


def test_get(connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "there").write_bytes(os.urandom(3 << 20))
    connection.get("~/there", tmp_path / "back", max_bytes=3 << 20)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "there").read_bytes()
    assert connection.run(["wc", "-c", "~/there"], timeout_s=10).stdout.split() == [b"3145728", str(tmp_path / "there").encode()]


def test_stdin_may_be_held_open(connection: Connection) -> None:
    """Pieces go as they are asked for; then the end of stdin tells the command that we have gone, no sooner."""
    start_s = time.monotonic()
    script = "read first; read second; echo $second $first; exec cat"
    with pytest.raises(DeadlineError):
        connection.run(["sh", "-c", script], stdin=iter([b"one\n", b"two\n"]), hold=True, timeout_s=1)
    assert time.monotonic() - start_s < 5
    assert connection.run(["sh", "-c", script], stdin=iter([b"one\n", b"two\n"]), timeout_s=10).stdout == b"two one\n"
    assert connection.run(["sh", "-c", "read first; exit 3"], stdin=iter([b"one\n", b"two\n"]), hold=True, timeout_s=10).rc == 3


def test_missing_file(connection: Connection, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="No such file"):
        connection.get("/nowhere/at/all", tmp_path / "back", max_bytes=10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["large", "pipe", "folder", "/dev/zero"])
def test_what_is_too_large_or_no_file_is_not_fetched(connection: Connection, tmp_path: Path, name: str) -> None:
    (tmp_path / "large").write_bytes(bytes(11))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DeviceError, match="is no file of at most 10 bytes"):
        connection.get(str(tmp_path / name), tmp_path / "back", max_bytes=10)
    assert not list(tmp_path.glob("*back*"))
