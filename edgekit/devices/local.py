"""The machine edgekit runs on, as a device like any other: a process for a command, a copy for a transfer."""

from __future__ import annotations

import errno
import os
import selectors
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from edgekit.device import Device
from edgekit.devices import Completed, pieces_of
from edgekit.devices.output import Output, too_large
from edgekit.digest import fsync_folder
from edgekit.errors import DeadlineError, DeployError, DeviceError

__all__ = ["LocalConnection"]

_BLOCK_BYTES = 1 << 20
_PIPE_BYTES = 1 << 16


class LocalConnection:
    """See `edgekit.devices.Connection`."""

    def __init__(self, device: Device, *, timeout_s: float) -> None:
        self._where = str(device.address)
        self._timeout_s = timeout_s

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | Iterable[bytes] = b"",
        hold: bool = False,
        timeout_s: float,
        on_line: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """See `edgekit.devices.Connection.run`; the command leads a process group, which dies with it at the deadline."""
        words = [_expand(word) for word in argv]
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, bufsize=0
            )
        except OSError as error:
            # A shell would end in 127 or 126 here (POSIX, shell command language, 2.8.2); the callers know these.
            return Completed(rc=127 if error.errno == errno.ENOENT else 126, stdout=b"", stderr=f"{words[0]}: {error.strerror}\n".encode())
        output = Output(self._where, on_line)
        try:
            _exchange(process, pieces_of(stdin), hold, output, time.monotonic() + timeout_s)
        except TimeoutError as error:
            raise DeadlineError(f"{self._where}: {Path(words[0]).name} did not end within {timeout_s:g} s") from error
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe:
                    pipe.close()
        return output.completed(process.returncode)

    def get(self, remote: str, local: Path, *, max_bytes: int) -> None:
        """See `edgekit.devices.Connection.get`."""
        path = Path(_expand(remote))
        part = local.with_name(f".{local.name}.part")
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > max_bytes:  # a pipe would hold us
                raise too_large(self._where, remote, max_bytes)
            with path.open("rb") as source, part.open("wb") as target:
                while block := source.read(min(_BLOCK_BYTES, max_bytes + 1 - target.tell())):
                    target.write(block)
                if target.tell() > max_bytes:
                    raise too_large(self._where, remote, max_bytes)
                target.flush()
                os.fsync(target.fileno())
            part.replace(local)
            fsync_folder(local.parent)
        except OSError as error:
            raise self._explain(error, path) from error
        finally:
            part.unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> LocalConnection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _explain(self, error: OSError, path: Path) -> DeviceError | DeployError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DeployError(f"{self._where}: no room left for {path}", fix="free some space")
        return DeviceError(f"{self._where}: {error.filename or path}: {error.strerror}")


def _expand(word: str) -> str:
    return str(Path.home() / word[2:]) if word.startswith("~/") else word


def _exchange(process: subprocess.Popen[bytes], stdin: Iterator[bytes], hold: bool, output: Output, deadline_s: float) -> None:
    """Feed and read the pipes until both outputs are closed and the process has ended."""
    if not (process.stdin and process.stdout and process.stderr):
        raise ValueError("the process has no pipes")
    left: memoryview | None = None
    with selectors.DefaultSelector() as selector:
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        selector.register(process.stdout, selectors.EVENT_READ, output.take)
        selector.register(process.stderr, selectors.EVENT_READ, output.take_error)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline_s - time.monotonic()))
            if not ready and time.monotonic() >= deadline_s:
                raise TimeoutError
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    left = left or memoryview(next(stdin, b""))
                    try:
                        left = left[os.write(key.fd, left[:_PIPE_BYTES]) :] if left else None
                    except BrokenPipeError:
                        left = None  # it ended without reading all: its exit status tells
                    if left is None:
                        selector.unregister(process.stdin)
                        if not hold:
                            process.stdin.close()
                elif data := os.read(key.fd, _PIPE_BYTES):
                    key.data(data)
                else:
                    selector.unregister(key.fileobj)
    try:
        process.wait(max(0.0, deadline_s - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
