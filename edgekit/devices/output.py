"""What a command prints, taken in piece by piece and kept within bounds. Used by every connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from edgekit.devices import OUTPUT_BYTES_MAX, STDERR_BYTES_MAX, Completed
from edgekit.errors import DeviceError

__all__ = ["Fetched", "Output", "too_large"]


def too_large(where: str, remote: str, max_bytes: int) -> DeviceError:
    """Say that a file there is not one to fetch."""
    return DeviceError(f"{where}: {remote} is no file of at most {max_bytes} bytes; it was not fetched")


class Output:
    """Collects stdout and the tail of stderr, or hands stdout on line by line.

    Parameters
    ----------
    where
        The device's address, for messages.
    """

    def __init__(self, where: str, on_line: Callable[[bytes], None] | None) -> None:
        self._where = where
        self._on_line = on_line
        self._stdout = bytearray()
        self._stderr = bytearray()

    def take(self, data: bytes) -> None:
        """Take in a piece of stdout.

        Raises
        ------
        DeviceError
            The device prints more than anything edgekit asks for could need.
        """
        self._stdout += data
        if self._on_line and b"\n" in data:
            *lines, self._stdout = self._stdout.split(b"\n")
            for line in lines:
                self._on_line(bytes(line))
        if len(self._stdout) > OUTPUT_BYTES_MAX:
            span = " in one line" if self._on_line else ""
            raise DeviceError(f"{self._where}: the command printed more than {OUTPUT_BYTES_MAX >> 20} MiB{span}")

    def take_error(self, data: bytes) -> None:
        """Take in a piece of stderr; only the tail is kept."""
        self._stderr += data
        del self._stderr[:-STDERR_BYTES_MAX]

    def completed(self, rc: int) -> Completed:
        """Close the books: a last line without its end counts as a line."""
        if self._on_line and self._stdout:
            self._on_line(bytes(self._stdout))
            self._stdout.clear()
        return Completed(rc=rc, stdout=bytes(self._stdout), stderr=bytes(self._stderr))


class Fetched(Output):
    """Writes stdout to a file as it comes.

    Parameters
    ----------
    remote
        What is fetched, for messages.
    max_bytes
        More is no such file.
    """

    def __init__(self, where: str, remote: str, target: BinaryIO, max_bytes: int) -> None:
        super().__init__(where, None)
        self._remote, self._target, self._max_bytes, self._left = remote, target, max_bytes, max_bytes

    def take(self, data: bytes) -> None:
        """Write a piece.

        Raises
        ------
        DeviceError
            There is more than the file may have.
        """
        self._left -= len(data)
        if self._left < 0:
            raise too_large(self._where, self._remote, self._max_bytes)
        self._target.write(data)
