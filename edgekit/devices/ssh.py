"""A board over SSH, by paramiko: its ways of failing are many, here they become LinkError, DeployError and DeadlineError.

Nothing here may hang: each operation runs under a watch that closes the session when its time is up, because
paramiko itself waits for ever in several places when the link is gone.
"""

from __future__ import annotations

import os
import posixpath
import select
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType

import paramiko

from edgekit.device import Device
from edgekit.devices import Completed, pieces_of
from edgekit.devices.login import link_error, open_transport
from edgekit.devices.output import Fetched, Output
from edgekit.devices.shell import command
from edgekit.devices.watch import Pulse, Watch
from edgekit.digest import fsync_folder
from edgekit.errors import DeadlineError, DeviceError, LinkError
from edgekit.printable import printable

__all__ = ["SshConnection"]

_BLOCK_BYTES = 1 << 18
# Output wakes the loop by itself; an opening send window and an exit status do not.
_READ_WAIT_MS, _SEND_WAIT_MS, _STATUS_WAIT_S = 200, 20, 0.002
# A command may be silent for hours, but its server answers: after so many times the timeout without an answer
# the board counts as dead. A board that swaps may well need more than one.
_SILENT_TIMEOUTS = 3
# How long the session's thread may need to notice that its socket has closed.
_NOTICE_S = 0.25


class SshConnection:
    """See `edgekit.devices.Connection`."""

    def __init__(self, device: Device, *, timeout_s: float) -> None:
        self._where = str(device.address)
        self._timeout_s = timeout_s
        with ExitStack() as stack:
            self._transport = open_transport(device.address, device.ssh_config, timeout_s=timeout_s, stack=stack)
            self._pulse = Pulse(self._transport)
            self._closing = stack.pop_all()

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | Iterable[bytes] = b"",
        hold: bool = False,
        timeout_s: float,
        on_line: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """See `edgekit.devices.Connection.run`. The login shell of the board reads the command line."""
        output = Output(self._where, on_line)
        try:
            with self._watched() as watch:
                return self._execute(command(argv), pieces_of(stdin), output, watch, deadline_s=time.monotonic() + timeout_s, hold=hold)
        except TimeoutError as error:
            raise DeadlineError(f"{self._where}: {posixpath.basename(argv[0])} did not end within {timeout_s:g} s") from error

    def get(self, remote: str, local: Path, *, max_bytes: int) -> None:
        """See `edgekit.devices.Connection.get`. A command sends it: not every board has SFTP, and paramiko's prefetch outlives its file."""
        part = local.with_name(f".{local.name}.part")
        try:
            with part.open("wb") as target:
                into = Fetched(self._where, remote, target, max_bytes)
                with self._watched() as watch:
                    line = command(["head", "-c", str(max_bytes + 1), remote])
                    done = self._execute(line, iter(()), into, watch, deadline_s=None)
                if done.rc != 0:
                    raise DeviceError(f"{self._where}: {remote}: {printable(done.stderr.decode(errors='replace').strip())}")
                target.flush()
                os.fsync(target.fileno())
            part.replace(local)
            fsync_folder(local.parent)
        finally:
            part.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the session and those of the hops before it."""
        self._closing.close()
        self._pulse.stop()

    def __enter__(self) -> SshConnection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def _watched(self) -> Iterator[Watch]:
        """Bound an operation in time and turn a lost connection, however it shows, into LinkError."""
        watch = Watch(self._transport, self._timeout_s)
        try:
            yield watch
        except TimeoutError as error:
            if self._transport.is_active() and not watch.expired:
                raise
            raise self._lost(error, watch) from error
        except (paramiko.SSHException, EOFError) as error:
            raise self._lost(error, watch) from error
        except OSError as error:
            if error.errno is None or not self._transport.is_active():
                raise self._lost(error, watch) from error
            raise
        finally:
            watch.stop()

    def _lost(self, error: BaseException, watch: Watch) -> LinkError:
        if watch.expired:
            return LinkError(
                f"{self._where}: the board has not answered for {watch.limit_s:g} s; the connection is dead",
                fix="run the same command again: it goes on where it stopped",
            )
        return link_error(self._where, error)

    def _execute(
        self,
        line: str,
        stdin: Iterator[bytes],
        output: Output,
        watch: Watch,
        *,
        deadline_s: float | None,
        hold: bool = False,
    ) -> Completed:
        with closing(self._transport.open_session(timeout=self._timeout_s)) as channel:
            channel.exec_command(line)
            ready = select.poll()
            ready.register(channel.fileno(), select.POLLIN)
            piece, heard_s, silent_s = next(stdin, b""), time.monotonic(), _SILENT_TIMEOUTS * self._timeout_s
            if not piece and not hold:
                channel.shutdown_write()
            while True:
                ended = channel.eof_received or channel.closed
                while channel.recv_ready():
                    output.take(channel.recv(_BLOCK_BYTES))
                    heard_s = time.monotonic()
                while channel.recv_stderr_ready():
                    output.take_error(channel.recv_stderr(_BLOCK_BYTES))
                    heard_s = time.monotonic()
                if deadline_s is not None and time.monotonic() >= deadline_s:
                    raise TimeoutError
                # A send that blocks is ended by the watch, for that all of this waits with it.
                watch.until(max(heard_s, self._pulse.heard_s) + silent_s, silent_s)
                if ended and (channel.closed or channel.exit_status_ready()):
                    return output.completed(self._exit_status(channel))
                if piece and channel.send_ready() and not ended:
                    piece = piece[channel.send(piece) :] or next(stdin, b"")
                    if not piece and not hold:
                        channel.shutdown_write()
                    continue
                if ended:
                    time.sleep(_STATUS_WAIT_S)
                else:
                    ready.poll(_SEND_WAIT_MS if piece else _READ_WAIT_MS)

    def _exit_status(self, channel: paramiko.Channel) -> int:
        """Return the exit status; paramiko says -1 both for a command killed by a signal and for a lost connection."""
        rc = channel.recv_exit_status()
        if rc == -1:
            self._transport.join(_NOTICE_S)
            if not self._transport.is_active():
                raise EOFError
        return rc
