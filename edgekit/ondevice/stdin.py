"""What comes in: the job's line, the bytes that may follow it, and the end, which says that the host has gone.

Used by the agent, and by the one job that takes what follows its line. No child reads what is ours, or waits for it.
"""

from __future__ import annotations

import os
import select
import signal
import threading

from .wire import AgentError

__all__ = ["Stdin", "set_aside"]

BLOCK_BYTES = 1 << 18
# A host that lives sends, or resends, without a pause; one whose link was cut is not told apart from it by the kernel for hours (tcp(7)).
SILENT_S = 60.0


def set_aside() -> Stdin:
    """Take standard input for ourselves and leave an empty file in its place."""
    handle, null = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return Stdin(handle)


class Stdin:
    """A descriptor, read by us alone."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._ahead = b""
        self._over = threading.Event()

    def line(self, limit_bytes: int) -> bytes:
        """Return the first line, or as much of it as is allowed."""
        data, looked = bytearray(), 0
        while True:
            end = data.find(b"\n", looked) + 1
            looked = len(data)
            block = b"" if end or looked > limit_bytes else self._come()
            if not block:
                end = end or looked
                self._ahead = bytes(data[end:])
                return bytes(data[:end])
            data += block

    def read(self, limit_bytes: int) -> bytes:
        """Return the next bytes, some at least, or nothing at the end."""
        self._ahead = self._ahead or self._come()
        block, self._ahead = self._ahead[:limit_bytes], self._ahead[limit_bytes:]
        return block

    def tether(self) -> None:
        """Stop this process, as SIGHUP would, when the host closes its end before `release`."""
        threading.Thread(target=self._wait, name="tether", daemon=True).start()

    def release(self) -> None:
        """From now on the host may go: the job is over."""
        self._over.set()

    def _come(self) -> bytes:
        if not select.select([self._handle], [], [], SILENT_S)[0]:
            raise AgentError("stopped", "the host has sent nothing for %d s" % SILENT_S)
        return os.read(self._handle, BLOCK_BYTES)

    def _wait(self) -> None:
        while os.read(self._handle, BLOCK_BYTES):
            pass
        if not self._over.is_set():
            os.kill(os.getpid(), signal.SIGHUP)
