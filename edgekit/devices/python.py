"""The device's Python and the agent file beside it. Called by `edgekit.devices.session`."""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from edgekit.device import Device
from edgekit.devices import Connection
from edgekit.devices.shell import command
from edgekit.digest import sha256_bytes
from edgekit.errors import DeployError, DeviceError
from edgekit.printable import printable

__all__ = ["DevicePython", "find_python", "install_agent"]

_OLDEST = (3, 8)
_TIMEOUT_S = 30.0
# A few hundred kilobytes over the worst of links.
_INSTALL_TIMEOUT_S = 300.0

# Runs in whatever Python is there, so that a too old one can still say its version.
_LOOK = """
import hashlib, json, os, sys
root, name = os.path.abspath(os.path.expanduser(sys.argv[1])), sys.argv[2]
found, wrong, path = None, None, os.path.join(root, "agent", name)
for part in ("", "agent", "incoming", "blobs", "apps", "runtimes"):
    folder = os.path.join(root, part)
    if part in ("", "agent", "incoming"):
        new = []
        while not os.path.isdir(folder):
            new.append(folder)
            folder = os.path.dirname(folder)
        for folder in reversed(new):
            try:
                os.mkdir(folder, 0o700)
            except FileExistsError:
                if not os.path.isdir(folder):
                    raise
            handle = os.open(os.path.dirname(folder), os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
    if os.path.lexists(folder):
        status = os.stat(folder)
        if status.st_uid != os.geteuid():
            wrong = wrong or [part, "foreign"]
        elif status.st_mode & 0o022:
            wrong = wrong or [part, "writable"]
        elif part == "blobs" and status.st_dev != os.stat(os.path.join(root, "incoming")).st_dev:
            wrong = wrong or [part, "elsewhere"]
if os.path.exists(path) and not wrong:
    with open(path, "rb") as file:
        found = hashlib.sha256(file.read()).hexdigest()
print(json.dumps({"version": list(sys.version_info[:3]), "agent": found, "wrong": wrong}))
"""
_INSTALL = """
import hashlib, os, sys, time
path, digest = os.path.expanduser(sys.argv[1]), sys.argv[2]
folder, data = os.path.dirname(path), sys.stdin.buffer.read(1 << 24)
if hashlib.sha256(data).hexdigest() != digest:
    sys.exit("the agent arrived damaged")
part = "%s.%d.part" % (path, os.getpid())
with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
os.rename(part, path)
for name in os.listdir(folder):
    left = os.path.join(folder, name)
    try:
        if name.endswith(".part") and os.stat(left).st_mtime < time.time() - 86400:
            os.unlink(left)
    except OSError:
        pass
handle = os.open(folder, os.O_RDONLY)
os.fsync(handle)
os.close(handle)
"""


@dataclass(frozen=True)
class DevicePython:
    """The interpreter that runs the agent; ``has_agent`` when the agent file is already whole on the device."""

    path: str
    version: tuple[int, int, int]
    has_agent: bool


class _Look(msgspec.Struct, frozen=True):
    version: tuple[int, int, int]
    agent: Annotated[str, msgspec.Meta(max_length=64)] | None
    wrong: tuple[Literal["", "agent", "incoming", "blobs", "apps", "runtimes"], Literal["foreign", "writable", "elsewhere"]] | None = None


def find_python(connection: Connection, device: Device, agent: str, data: bytes) -> DevicePython:
    """Find the interpreter, make edgekit's folders and look for the agent: one round trip.

    Raises
    ------
    DeviceError
        There is no Python, it is too old, the folders cannot be made, or others may write to them.
    """
    where = str(device.address)
    path = device.python or (sys.executable if device.address.is_local else "python3")
    done = connection.run([path, "-c", _LOOK, device.root, agent], timeout_s=_TIMEOUT_S)
    if done.rc in (126, 127):
        if device.python:
            raise DeviceError(
                f"{where}: there is no Python at {path}",
                fix=f"correct python = ... of device {device.name}, or leave it out to use python3",
            )
        raise DeviceError(f"{where}: there is no python3", fix="on the board: sudo apt install python3")
    if done.rc != 0:
        text = printable(done.stderr.decode("utf-8", errors="replace").strip().rpartition("\n")[2])
        raise DeviceError(
            f"{where}: {path} cannot prepare {device.root}: {text or f'status {done.rc}'}",
            fix="name another folder: root = ... of the device",
        )
    try:
        look = msgspec.json.decode(done.stdout, type=_Look)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # as parse.from_json
        raise DeviceError(
            f"{where}: {path} did not answer as a Python does: {done.stdout[:200]!r}",
            fix="if a start-up file of the login shell prints something, make it silent for sessions that are not interactive",
        ) from error
    if look.version[:2] < _OLDEST:
        raise DeviceError(
            f"{where}: Python {'.'.join(map(str, look.version))} is too old; the agent needs {_OLDEST[0]}.{_OLDEST[1]} or newer",
            fix=f"install a newer one and name it: python = ... of device {device.name}",
        )
    if look.wrong:
        raise _unsafe(where, device.root, *look.wrong)
    return DevicePython(path=path, version=look.version, has_agent=look.agent == sha256_bytes(data))


def _unsafe(where: str, root: str, part: str, why: str) -> DeviceError:
    """Refuse a folder in which somebody else could put an agent or a model under our name."""
    folder = f"{root}/{part}" if part else root
    if why == "writable":
        return DeviceError(f"{where}: others may write to {folder}", fix=f"on the board: {command(['chmod', 'go-w', folder])}")
    if why == "foreign":
        return DeviceError(f"{where}: {folder} belongs to another user", fix="name a folder of your own: root = ... of the device")
    return DeviceError(
        f"{where}: {folder} is on another file system than {root}/incoming, so that no file can be renamed into it",
        fix="link the whole root instead, or name another: root = ... of the device",
    )


def install_agent(connection: Connection, device: Device, python: DevicePython, path: str, data: bytes) -> None:
    """Send the agent, which becomes a file there once it is whole: digest compared, private, synced, renamed.

    Raises
    ------
    DeviceError
        What arrived is not what was sent, or it cannot be written.
    DeployError
        No room.
    """
    words = [python.path, "-c", _INSTALL, path, sha256_bytes(data)]
    done = connection.run(words, stdin=data, timeout_s=_INSTALL_TIMEOUT_S)
    if done.rc != 0:
        text = printable(done.stderr.decode("utf-8", errors="replace").strip().rpartition("\n")[2])
        if os.strerror(errno.ENOSPC) in text:
            raise DeployError(f"{device.address}: no room for the agent: {path}", fix="free some space on the board")
        raise DeviceError(f"{device.address}: the agent could not be installed: {text}", fix="run the same command again")
