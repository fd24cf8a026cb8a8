"""``edgekit virtual``: a board that this machine emulates, behind a real SSH server on loopback.

The order of things: what is missing is said first; a folder, keys and a process, in this order, so that at every moment `down` finds what
there is; the board counts as up once its server answers. One `up` or `down` at a time: each holds the folder of all boards.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edgekit.devices.virtual.image import make_image
from edgekit.devices.virtual.kind import KINDS, Kind
from edgekit.devices.virtual.machine import can_run_machine, machine
from edgekit.devices.virtual.process import begin, end, free_port, run, user_name, wait_for_ssh
from edgekit.devices.virtual.server import can_serve, server
from edgekit.devices.virtual.userland import make_userland
from edgekit.digest import make_folder, write_atomic
from edgekit.errors import InputError, UsageError
from edgekit.nearest import did_you_mean
from edgekit.pipeline import Progress, silent
from edgekit.virtual import VirtualBoard, board_name, boards, home

__all__ = ["boards", "down", "up"]

Furnish = Callable[[Path, int], list[str]]
"""Fills a board's folder, keys among it, for a port; returns the command that runs it."""

_UP_TIMEOUT_S = 180.0  # a whole machine boots in 5 to 10 s, on a machine under load in ten times that
# What OpenSSH's configuration files would take for more than a path.
_STRANGE = frozenset("\"'\\%*?#$`\n")

# Nothing but this board is reached by it, by this key, if it shows that one.
_SSH_CONFIG = """\
Host {name}
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile "{folder}/key"
  IdentitiesOnly yes
  UserKnownHostsFile "{folder}/known_hosts"
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
"""


def up(target: str, *, vm: bool = False, progress: Progress = silent) -> tuple[VirtualBoard, bool]:
    """Bring up the virtual board of a target; returns it, and whether it was up before.

    Parameters
    ----------
    vm
        A whole machine with a kernel of its own; else a userland under this machine's kernel, which starts and computes quicker.

    Raises
    ------
    UsageError
        There is no such virtual board.
    DeviceError
        Something is missing on this machine; says what, and the command that mends it.
    """
    if target not in KINDS:
        near = did_you_mean(target, KINDS)
        raise UsageError(f"there is no virtual {target!r}", fix=f"did you mean {near!r}?" if near else f"one of {', '.join(KINDS)}")
    kind, name = KINDS[target], board_name(target, vm=vm)
    if vm and kind.arch != "arm64":
        raise UsageError(f"there is no whole machine of {target}: it has 32 bits", fix=f"edgekit virtual up {target}")
    with _held() as folder:
        found = next((board for board in boards() if board.name == name and board.process.runs), None)
        if found:
            return found, True
        furnish = _machine(kind, progress) if vm else _userland(kind, progress)
        end(folder / name)  # what an interrupted call or a server's end has left
        try:
            (folder / name).mkdir(mode=0o700)
            return _start(name, target, folder / name, furnish, "root" if vm else user_name()), False
        except BaseException:
            end(folder / name)
            raise


def _userland(kind: Kind, progress: Progress) -> Furnish:
    register = can_serve(kind)
    userland = make_userland(kind.arch, progress)

    def furnish(folder: Path, port: int) -> list[str]:
        for name in ("key", "host_key"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "edgekit virtual", "-f", str(folder / name)])
        return server(kind, folder, port=port, userland=userland, register=register)

    return furnish


def _machine(kind: Kind, progress: Progress) -> Furnish:
    can_run_machine()
    image = make_image(progress)
    return lambda folder, port: machine(kind, folder, port=port, image=image)


def down(names: Sequence[str] | None) -> list[str]:
    """Take boards down, None means all: their processes end, and with their folders goes all that was on them. Returns their names.

    Raises
    ------
    UsageError
        No virtual board is called so.
    DeviceError
        A process does not end, or a folder cannot be removed.
    """
    with _held() as folder:
        there = sorted(path.name for path in folder.glob("virtual-*") if path.is_dir() and not path.is_symlink())
        for name in names or ():
            if name not in there:
                near = did_you_mean(name, there)
                raise UsageError(f"no virtual board is called {name!r}", fix=f"did you mean {near!r}?" if near else "edgekit virtual list")
        ended = there if names is None else list(dict.fromkeys(names))
        for name in ended:
            end(folder / name)
        return ended


def _start(name: str, target: str, folder: Path, furnish: Furnish, user: str) -> VirtualBoard:
    port = free_port()
    words = furnish(folder, port)
    host_key = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (folder / "ssh_config").write_text(_SSH_CONFIG.format(name=name, port=port, user=user, folder=folder))
    process = begin(words, folder)
    wait_for_ssh(port, process, folder / "log", timeout_s=_UP_TIMEOUT_S)
    board = VirtualBoard(name=name, target=target, port=port, since=time.time(), process=process)
    write_atomic(folder / "board.json", msgspec.json.encode(board))
    return board


@contextmanager
def _held() -> Iterator[Path]:
    """Hold the folder of all boards, made private."""
    folder = home()
    if strange := _STRANGE & set(str(folder)):
        raise InputError(
            f"{folder}: OpenSSH would not take {''.join(sorted(strange))!r} in its files", fix="set XDG_STATE_HOME to another folder"
        )
    make_folder(folder)
    folder.chmod(0o700)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(handle)
