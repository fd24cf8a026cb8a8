"""The virtual boards of this machine: where each is written down, and whether it still runs.

Made and ended by `edgekit.pipeline.virtual`; `edgekit.inventory` finds them by name. A board is a folder of its own under the user's
state folder: ``process.json`` from its process's first moment, ``board.json`` once it answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import platformdirs

from edgekit.errors import DeviceError, InputError

__all__ = ["TARGETS", "Process", "VirtualBoard", "board_name", "boards", "find_board", "home", "read_process"]

TARGETS = ("rpi4", "rpi5", "rpi3-armv7")
"""The kinds of boards that can be virtual."""

R = TypeVar("R", bound=msgspec.Struct)

_RECORD_BYTES_MAX = 4096
_STATE_TICKS = 19  # of the fields after the command's name: start time (proc(5), /proc/pid/stat, field 22)


class Process(msgspec.Struct, frozen=True):
    """A process that is never taken for another with the same number.

    Attributes
    ----------
    start_ticks
        When it began, in clock ticks since the machine's start.
    boot_id
        Which start of the machine that was.
    """

    pid: Annotated[int, msgspec.Meta(ge=2)]
    start_ticks: Annotated[int, msgspec.Meta(ge=0)]
    boot_id: Annotated[str, msgspec.Meta(max_length=64)]

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Describe a running process, None when there is none; one that has ended and is not yet collected does not run."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        return None if fields[0] in "ZX" else cls(pid, int(fields[_STATE_TICKS]), boot_id)

    @property
    def runs(self) -> bool:
        """Whether it still runs, and is still the same."""
        return Process.of(self.pid) == self


class VirtualBoard(msgspec.Struct, frozen=True, kw_only=True):
    """A board that this machine emulates.

    Attributes
    ----------
    port
        Of its SSH server, on 127.0.0.1.
    since
        Unix time at which it first answered.
    """

    name: Annotated[str, msgspec.Meta(max_length=64)]
    target: Annotated[str, msgspec.Meta(max_length=64)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    since: float
    process: Process

    @property
    def folder(self) -> Path:
        """Everything it has, its sensors' files among them."""
        return home() / self.name

    @property
    def ssh_config(self) -> Path:
        """The ssh_config that leads to it and to nothing else."""
        return self.folder / "ssh_config"


def home() -> Path:
    """Return the folder that holds a folder for each virtual board."""
    return platformdirs.user_state_path("edgekit") / "virtual"


def board_name(target: str, *, vm: bool = False) -> str:
    """Return what the virtual board of a target is called."""
    return f"virtual-{target}{'-vm' if vm else ''}"


def boards() -> list[VirtualBoard]:
    """Return the boards that were brought up and not taken down, also those that have ended by themselves; by name.

    Raises
    ------
    InputError
        A record cannot be read.
    """
    return [_read(path, VirtualBoard) for path in sorted(home().glob("virtual-*/board.json"))]


def find_board(word: str) -> VirtualBoard | None:
    """Find a virtual board by its name; None for a word that is no name of one.

    Raises
    ------
    DeviceError
        A virtual board is called so, but it is not up.
    """
    for target in TARGETS:
        for vm in (False, True):
            if word == board_name(target, vm=vm):
                found = next((board for board in boards() if board.name == word), None)
                if found is None or not found.process.runs:
                    fix = f"edgekit virtual up {target}{' --vm' if vm else ''}"
                    raise DeviceError(f"{word} {'is not up' if found is None else 'has ended'}", fix=fix)
                return found
    return None


def read_process(folder: Path) -> Process | None:
    """Return the process of a board's folder, None when it has not come so far."""
    path = folder / "process.json"
    return _read(path, Process) if path.exists() else None


def _read(path: Path, kind: type[R]) -> R:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_RECORD_BYTES_MAX), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        fix = f"rm -r {path.parent}, once no process of it runs" if kind is Process else "edgekit virtual down --all"
        raise InputError(f"{path}: {error}", fix=fix) from error
