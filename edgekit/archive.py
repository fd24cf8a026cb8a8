"""The tar around a bundle: POSIX ustar with nothing left to choose, so that the same files give the same bytes.

Called by `edgekit.bundle`. What is read must be what would have been written, header for header and to the last byte of padding: there
is no link, no device, no extended header and no sparse file to defend against, as none can be spelt.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import IO

from edgekit.errors import InputError

__all__ = ["copy_member", "read_end", "read_header", "read_member", "write_archive"]

_BLOCK_BYTES = 512
_RECORD_BYTES = 20 * _BLOCK_BYTES  # pax(1), ustar: archives end in whole records
_NAME_BYTES, _PREFIX_BYTES = 100, 155
_SIZE_MAX = 8**11 - 1  # eleven octal digits
_PIECE_BYTES = 1 << 20
_FIX = "build or copy the bundle again"


def _header(path: str, size: int) -> bytes:
    """Return the one header that a regular file of that name and size has here: mode 0644, owner and time zero."""
    name, prefix = path.encode("ascii"), b""
    if len(name) > _NAME_BYTES:
        prefix, _, name = name.partition(b"/")
    if not 0 < len(name) <= _NAME_BYTES or len(prefix) > _PREFIX_BYTES or not 0 <= size <= _SIZE_MAX:
        raise ValueError(path)
    before = name.ljust(_NAME_BYTES, b"\0") + b"0000644\0" + 2 * b"0000000\0" + b"%011o\0" % size + b"%011o\0" % 0
    after = b"0" + bytes(100) + b"ustar\x0000" + bytes(80) + prefix.ljust(_PREFIX_BYTES, b"\0") + bytes(12)  # no device, no names
    total = sum(before) + sum(after) + 8 * ord(" ")  # the sum counts its own field as blanks
    return before + b"%06o\0 " % total + after


def write_archive(file: IO[bytes], members: Iterable[tuple[str, bytes | Path]]) -> None:
    """Write members, each from its bytes or from a file of them, in the order given.

    Raises
    ------
    InputError
        A file is too large for the format: 8 GiB.
    """
    written = 0
    for path, source in members:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        if size > _SIZE_MAX:
            raise InputError(f"{path}: {size} bytes are more than a bundle can hold in one file ({_SIZE_MAX})")
        file.write(_header(path, size))
        if isinstance(source, bytes):
            file.write(source)
        else:
            with source.open("rb") as opened:
                while piece := opened.read(_PIECE_BYTES):
                    file.write(piece)
        padding = -size % _BLOCK_BYTES
        file.write(bytes(padding))
        written += _BLOCK_BYTES + size + padding
    file.write(bytes(_ending(written)))


def _ending(written: int) -> int:
    """Return how many zero bytes end an archive: two blocks, then up to a whole record."""
    return 2 * _BLOCK_BYTES + -(written + 2 * _BLOCK_BYTES) % _RECORD_BYTES


def read_header(file: IO[bytes], where: str) -> tuple[str, int]:
    """Return name and size of the member that begins here.

    Raises
    ------
    InputError
        There is none, or its header is not the one `write_archive` gives such a member.
    """
    block = file.read(_BLOCK_BYTES)
    prefix, name = (block[start:end].rstrip(b"\0") for start, end in ((345, 500), (0, 100)))
    try:
        path = b"/".join(filter(None, (prefix, name))).decode("ascii")
        size = int(block[124:135], 8)
        good = _header(path, size) == block
    except ValueError:
        good = False
    if not good:
        raise InputError(f"{where}: not a readable bundle: what stands at byte {file.tell() - len(block)} is no member of one", fix=_FIX)
    return path, size


def read_member(file: IO[bytes], size: int, where: str) -> bytes:
    """Return the bytes of the member whose header has just been read; the caller has bounded their number."""
    data = file.read(size)
    if len(data) != size:
        raise InputError(f"{where}: ends in the middle of a file", fix=_FIX)
    _read_zeros(file, -size % _BLOCK_BYTES, where)
    return data


def copy_member(file: IO[bytes], size: int, destination: Path, where: str) -> None:
    """Copy the bytes of the member whose header has just been read into a new file; memory stays flat."""
    left = size
    with destination.open("xb") as copy:
        while left and (piece := file.read(min(left, _PIECE_BYTES))):
            copy.write(piece)
            left -= len(piece)
    if left:
        raise InputError(f"{where}: ends in the middle of {destination.name}", fix=_FIX)
    _read_zeros(file, -size % _BLOCK_BYTES, where)


def read_end(file: IO[bytes], where: str) -> None:
    """Make sure that the archive ends here, and as `write_archive` ends one."""
    _read_zeros(file, _ending(file.tell()), where)
    if file.read(1):
        raise InputError(f"{where}: goes on after its end", fix=_FIX)


def _read_zeros(file: IO[bytes], count: int, where: str) -> None:
    if file.read(count) != bytes(count):
        raise InputError(f"{where}: its padding was changed, or it ends too early", fix=_FIX)
