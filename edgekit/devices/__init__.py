"""Reaching boards: one connection per device, two operations on it.

`connect` opens what a device's address asks for; `edgekit.devices.session` runs the agent over it and
`edgekit.devices.provision` gives the board its runtime. The pipeline and the commands call these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, cast

from edgekit.device import Device
from edgekit.lazy import load

__all__ = ["CONNECTIONS", "OUTPUT_BYTES_MAX", "STDERR_BYTES_MAX", "Completed", "Connection", "Progress", "connect", "pieces_of"]

CONNECTIONS = {
    "local": "edgekit.devices.local:LocalConnection",
    "ssh": "edgekit.devices.ssh:SshConnection",
}

# What a device may answer is bounded: it is not trusted to stop by itself.
OUTPUT_BYTES_MAX = 64 << 20
STDERR_BYTES_MAX = 64 << 10

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Completed:
    """A command that ended on the device.

    Attributes
    ----------
    rc
        Exit status; negative when a signal ended it.
    stdout
        Empty when the lines went to ``on_line``.
    stderr
        Its last 64 KiB.
    """

    rc: int
    stdout: bytes
    stderr: bytes


def pieces_of(stdin: bytes | Iterable[bytes]) -> Iterator[bytes]:
    """Return what is fed to a command piece by piece."""
    return iter([stdin] if isinstance(stdin, bytes) else stdin)


class Connection(Protocol):
    """What a device can be asked for, whichever way it is reached. Paths and words may start with ``~/``."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | Iterable[bytes] = b"",
        hold: bool = False,
        timeout_s: float,
        on_line: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """Run a command to its end.

        Parameters
        ----------
        stdin
            Fed to the command, then closed; pieces are asked for as they go out.
        hold
            Keep its stdin open until it ends, so that its end tells the command that we have gone.
        on_line
            Called with every line of stdout as it comes, without its line end.

        Raises
        ------
        LinkError
            The connection broke.
        DeadlineError
            The command did not end in ``timeout_s``.
        """

    def get(self, remote: str, local: Path, *, max_bytes: int) -> None:
        """Fetch a file of at most ``max_bytes``; ``local`` appears whole or not at all.

        Raises
        ------
        LinkError
            The connection broke.
        DeviceError
            The device has no such file, does not let us read it, or it is larger.
        """

    def close(self) -> None:
        """Close; a second time does nothing."""

    def __enter__(self) -> Connection: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def connect(device: Device, *, timeout_s: float = 20.0) -> Connection:
    """Open the connection that a device's address asks for.

    Parameters
    ----------
    timeout_s
        For connecting, unless ssh_config's ConnectTimeout says otherwise, and for a link that says nothing while a transfer runs.

    Raises
    ------
    DeviceError
        The device cannot be reached: name, port, key, host key.
    """
    kind = "local" if device.address.is_local else "ssh"
    return cast(Connection, load(CONNECTIONS[kind])(device, timeout_s=timeout_s))
