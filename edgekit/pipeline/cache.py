"""The calibration cache: observations by what they are of, in the user's cache folder. ``pipeline.calibrate`` keeps it.

A file is private, appears whole or not at all, and is believed only after all of it was checked: what does not fit
is told and made anew. Deleting any of them costs the time to observe again, nothing else.
"""

from __future__ import annotations

import stat
import time
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from edgekit.digest import atomic_file
from edgekit.errors import InputError
from edgekit.graph import Graph
from edgekit.quantize.observation import FILE_BYTES_MAX, Identity, Observations, decode, encode

__all__ = ["Entry", "read_observations", "write_observations"]

_FILES_MAX = 50
_SUFFIX = ".obs"
_LEFTOVER_S = 86_400.0


@dataclass(frozen=True)
class Entry:
    """The cache's place for one set's observations, or for a shard of them.

    Attributes
    ----------
    shard
        ``"1of4"``, or empty for the whole set.
    """

    identity: Identity
    shard: str = ""

    @property
    def path(self) -> Path:
        """Where the file stands, if it does."""
        return platformdirs.user_cache_path("edgekit") / "observations" / f"{self.identity.sha256}{self.shard}{_SUFFIX}"

    def load(self, graph: Graph) -> tuple[Observations | None, str]:
        """Return what is there, or None; and a word to the user where something is that cannot be used."""
        try:
            if not self.path.exists():
                return None, ""
            found = read_observations(self.path)
            if found.identity != self.identity:
                raise InputError(f"{self.path} is of {found.difference(self.identity)}")
            found.check(graph)
        except InputError as error:
            return None, f"the calibration cache is not used: {error.message}"
        return found, ""

    def store(self, observations: Observations) -> None:
        """Write the file, and let go of the oldest where there are many.

        Raises
        ------
        InputError
            The folder cannot be written to, or the disk is full.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path.parent}: cannot be made: {error.strerror}", fix="set XDG_CACHE_HOME to another folder") from error
        write_observations(self.path, observations)
        _prune(self.path.parent)


def read_observations(path: Path) -> Observations:
    """Read a file that nobody vouches for.

    Raises
    ------
    InputError
        It is not there, not a file, too large, or `decode` refuses it.
    """
    try:
        with path.open("rb") as file:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > FILE_BYTES_MAX:
                raise InputError(f"{path}: no file of observations, or one of more than {FILE_BYTES_MAX >> 20} MiB")
            return decode(file.read(FILE_BYTES_MAX + 1), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", fix="edgekit calibrate --output FILE makes such a file") from error


def write_observations(path: Path, observations: Observations) -> None:
    """Write a file, whole or not at all, readable by its owner alone.

    Raises
    ------
    InputError
        It cannot be written.
    """
    with atomic_file(path, mode=0o600) as file:
        file.write(encode(observations))


def _prune(folder: Path) -> None:
    """Keep the newest files, and nothing of a process that was killed as it wrote."""
    now = time.time()
    ages = []
    for path in folder.iterdir():
        try:
            ages.append((now - path.stat().st_mtime, path))
        except FileNotFoundError:  # another process was quicker
            continue
    kept = sorted(age for age, path in ages if path.suffix == _SUFFIX)[:_FILES_MAX]
    for age, path in ages:
        if (path.suffix == _SUFFIX and age > kept[-1]) or (path.name.startswith(".") and age > _LEFTOVER_S):
            path.unlink(missing_ok=True)
