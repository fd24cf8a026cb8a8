"""The process of a virtual board: begun so that it is never without a record, ended so that nothing of it is left."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from edgekit.digest import write_atomic
from edgekit.errors import DeviceError
from edgekit.virtual import Process, read_process

__all__ = ["begin", "end", "free_port", "run", "user_name", "wait_for_ssh"]

_END_TIMEOUT_S, _COLLECT_TIMEOUT_S = 20.0, 2.0
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.02
_LOG_BYTES = 2000


def begin(words: Sequence[str], folder: Path) -> Process:
    """Run a board's command, detached from this terminal; what it says goes to ``folder/log``.

    It begins as a shell that waits for a word from us. The word comes once ``folder/process.json`` names it: whoever kills us before has
    killed it too, for its input then ends, and afterwards it can be found.
    """
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as waits, os.fdopen(writer, "wb") as tells, (folder / "log").open("ab") as log:
        given = [(os.POSIX_SPAWN_DUP2, file.fileno(), number) for number, file in enumerate((waits, log, log))]
        shell = ["/bin/sh", "-c", 'read -r word && cd / && exec "$@" </dev/null', "sh", *words]
        pid = os.posix_spawn(shell[0], shell, os.environ, file_actions=given, setsid=True)
        process = Process.of(pid)
        if process is None:
            raise DeviceError(f"{words[0]} has ended before it began")
        write_atomic(folder / "process.json", msgspec.json.encode(process))
        tells.write(b"go\n")
    return process


def wait_for_ssh(port: int, process: Process, log: Path, *, timeout_s: float) -> None:
    """Wait until an SSH server answers on a port of loopback.

    A forwarded port takes connections before a machine behind it does: only the banner proves that it is up.

    Raises
    ------
    DeviceError
        The process has ended, or the time is up; the message ends with its log.
    """
    end_s = time.monotonic() + timeout_s
    while process.runs and time.monotonic() < end_s:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as sock:
            if sock.recv(4) == b"SSH-":
                return
        time.sleep(_POLL_S)
    why = f"does not answer within {timeout_s:g} s" if process.runs else "has ended at once"
    raise DeviceError(f"the virtual board {why}:\n{log.read_bytes()[-_LOG_BYTES:].decode(errors='replace').strip()}")


def end(folder: Path) -> None:
    """End what runs of a board, and remove its folder; where nothing runs or no folder is, only that.

    Killing the first process of a process namespace kills all that are in it, whatever they do (pid_namespaces(7)); its mounts, and the
    interpreters known there, go with the last of them.

    Raises
    ------
    DeviceError
        The kernel does not end a process, or the folder cannot be removed.
    """
    process = read_process(folder)
    if process is not None and process.runs:
        within = [found for found in map(Process.of, _children(process.pid)) if found]
        for one in within:
            _kill(one)
        # Who waits for the inner one collects it and ends by itself; without that it would stay in the table of processes where this
        # machine's first process collects nobody, as in some containers.
        if not within or not _ended(process, _COLLECT_TIMEOUT_S):
            _kill(process)
        for one in (*within, process):
            if not _ended(one, _END_TIMEOUT_S):
                raise DeviceError(f"process {one.pid} of {folder.name} does not end", fix="try again")
    if folder.exists():
        try:
            _remove(folder)
        except OSError as error:
            raise DeviceError(f"{folder}: cannot be removed: {error}", fix=f"sudo rm -r {folder}") from error


def _remove(folder: Path) -> None:
    """Remove a folder whose owner, root on the board, had no use for permissions: we may be nobody to be let in without."""
    for above, names, _ in os.walk(folder):
        for name in names:
            path = Path(above, name)
            if not path.is_symlink():
                path.chmod(0o700)  # before os.walk looks into it
    shutil.rmtree(folder)


def _kill(process: Process) -> None:
    if process.runs:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def _ended(process: Process, timeout_s: float) -> bool:
    """Wait until a process has ended; one of our own children is collected."""
    end_s = time.monotonic() + timeout_s
    while process.runs and time.monotonic() < end_s:
        time.sleep(_POLL_S)
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return not process.runs


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def user_name() -> str:
    """Return whose processes ours are. Not what the environment says: a plain ``su`` leaves the user's before it there (su(1)).

    Raises
    ------
    DeviceError
        This machine knows no name for the user.
    """
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise DeviceError(
            f"user {os.geteuid()} has no name here, and nobody logs in without", fix="run edgekit as a user of /etc/passwd"
        ) from None


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def run(words: Sequence[str], **environment: str) -> str:
    """Run a program to its end and return what it printed; when we are interrupted it is told to end, and may clean up behind itself.

    Raises
    ------
    DeviceError
        It failed; the message ends with what it said.
    """
    pipe, env = subprocess.PIPE, {**os.environ, **environment}
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=env) as process:
        try:
            out, err = process.communicate()
        except BaseException:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_TIMEOUT_S)
            process.kill()
            raise
    if process.returncode:
        raise DeviceError(f"{words[0]} failed with {process.returncode}:\n{err.decode(errors='replace').strip()[-_LOG_BYTES:]}")
    return out.decode(errors="replace")
