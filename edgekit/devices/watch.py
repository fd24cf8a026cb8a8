"""Two small threads that notice what paramiko does not: an operation that has outlived its time, a board that is silent.

Used by `edgekit.devices.ssh`.
"""

from __future__ import annotations

import threading
import time

import paramiko

__all__ = ["Pulse", "Watch"]

_PULSE_S = 5.0
_LOOK_S = 0.2


class Watch:
    """Closes a session when an operation has outlived its time; `extend` puts the end off.

    Closing is the one thing that wakes every place in which paramiko waits without a limit.
    """

    def __init__(self, transport: paramiko.Transport, limit_s: float) -> None:
        self._transport = transport
        self._done = threading.Event()
        self._end_s = time.monotonic() + limit_s
        self.limit_s = limit_s
        self.expired = False
        self._thread = threading.Thread(target=self._run, name="edgekit-watch", daemon=True)
        self._thread.start()

    def extend(self, limit_s: float) -> None:
        """Give the operation so much time from now."""
        self.limit_s = limit_s
        self._end_s = time.monotonic() + limit_s

    def until(self, end_s: float, limit_s: float) -> None:
        """Give the operation until a point in time (`time.monotonic`); ``limit_s`` is the silence it would end."""
        self._end_s, self.limit_s = end_s, limit_s

    def expire(self, limit_s: float) -> None:
        """End the session now, because the board was silent for so long."""
        self.limit_s, self.expired = limit_s, True
        self._transport.close()

    def stop(self) -> None:
        """End the watch; the session stays open."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(min(_LOOK_S, max(0.0, self._end_s - time.monotonic()))):
            if time.monotonic() >= self._end_s:
                self.expire(self.limit_s)
                return


class Pulse:
    """Asks the SSH server for an answer every 5 s, so that a long silent command is told from a dead board.

    The request is the one that OpenSSH's own clients use; a server that does not know it must refuse it (RFC 4254, 4),
    which is as good. TCP alone would not do: a relay, a jump host or a frozen board's kernel may still acknowledge bytes.
    """

    def __init__(self, transport: paramiko.Transport) -> None:
        self._transport = transport
        self._done = threading.Event()
        self.heard_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="edgekit-pulse", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it; the session must have been closed, or it waits for the next answer."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(_PULSE_S) and self._transport.is_active():
            try:
                self._transport.global_request("keepalive@openssh.com", wait=True)
            except (paramiko.SSHException, EOFError, OSError):
                return  # the link is gone: the operation under way finds out by itself
            if self._transport.is_active():
                self.heard_s = time.monotonic()
