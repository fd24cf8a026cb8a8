"""The host's cache of engines, by what they depend on, and of what boards have timed. ``pipeline.engine`` keeps it.

An entry is private, appears whole or not at all, and is believed only after every size and digest was checked: what does not
fit is as good as not there. Deleting any of it costs the time to build again, nothing else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import platformdirs

from edgekit.digest import atomic_file, fsync_folder, make_folder, sha256_bytes, sha256_file, write_atomic
from edgekit.engine import EngineKey
from edgekit.errors import InputError
from edgekit.ondevice.tensorrt.engines import ACCOUNT, ACCOUNT_MAX_BYTES, ENGINE, FILES, LAYERS, TIMING
from edgekit.parse import Sha256, from_json

__all__ = ["ENGINE", "FILES", "LAYERS", "TIMING", "CachedEngine", "EngineAccount", "EngineCache", "FileAccount", "Making"]

_ENGINES_MAX = 30
"""A few networks in three precisions on a few kinds of boards; the oldest go."""


class FileAccount(msgspec.Struct, frozen=True):
    sha256: Sha256
    bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 36)]


class Making(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine was made.

    Attributes
    ----------
    seconds
        That the builder took.
    builder
        ``tensorrt``, the Python package, or ``trtexec``.
    fallback
        Layers that the deep-learning accelerator could not take.
    """

    files: dict[str, FileAccount]
    seconds: float
    builder: str
    fallback: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class EngineAccount(Making, frozen=True, kw_only=True):
    """What is known of an engine."""

    key: EngineKey


class CachedEngine(msgspec.Struct, frozen=True):
    """An engine's folder on this host, and what is known of it."""

    folder: Path
    account: EngineAccount

    def read(self, name: str) -> bytes:
        """Return one of `FILES`."""
        return (self.folder / name).read_bytes()


class EngineCache:
    """Engines under ``engines/<digest of the key>/``, timing caches under ``timing/<digest>/<sha256>``, races under ``races/``.

    Parameters
    ----------
    folder
        Default: edgekit's folder under the user's cache folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        top = folder or platformdirs.user_cache_path("edgekit")
        self._engines, self._timings, self._races = (top / name for name in ("engines", "timing", "races"))

    def find(self, key: EngineKey) -> CachedEngine | None:
        """Return the engine of a key, every byte of it checked, or None."""
        folder = self._engines / key.digest
        path = folder / ACCOUNT
        try:
            account = from_json(path.read_bytes(), EngineAccount, str(path), max_bytes=ACCOUNT_MAX_BYTES)
            if account.key != key or set(account.files) != set(FILES):
                return None
            for name, file in account.files.items():
                if (folder / name).stat().st_size != file.bytes or sha256_file(folder / name) != file.sha256:
                    return None
            os.utime(folder)  # so that what is used stays
        except (OSError, InputError):
            return None
        return CachedEngine(folder, account)

    def store(self, account: EngineAccount, fetched: Path) -> CachedEngine:
        """Keep an engine whose files are in a folder, which is used up; the engine that was there before goes.

        Raises
        ------
        InputError
            The cache cannot be written.
        """
        write_atomic(fetched / ACCOUNT, msgspec.json.encode(account))
        final = self._engines / account.key.digest
        try:
            if final.exists():
                shutil.rmtree(final)
            fsync_folder(fetched)
            fetched.rename(final)
            fsync_folder(self._engines)
        except OSError as error:
            raise InputError(f"{final}: cannot be written: {error.strerror}", fix="set XDG_CACHE_HOME to another folder") from error
        self._prune()
        return CachedEngine(final, account)

    def workplace(self) -> Path:
        """Make a private folder to fetch files into, on the same disk as the cache.

        Raises
        ------
        InputError
            The cache cannot be written.
        """
        make_folder(self._engines)
        return Path(tempfile.mkdtemp(dir=self._engines, prefix=".fetch-"))

    def timing(self, key: EngineKey) -> Path | None:
        """Return what boards of this kind have timed last, for whichever network; or None."""
        try:
            found = [path for path in (self._timings / key.timing_digest).iterdir() if not path.name.startswith(".")]
            return next((path for path in found if path.stat().st_size and sha256_file(path) == path.name), None)
        except OSError:
            return None

    def store_timing(self, key: EngineKey, data: bytes) -> None:
        """Keep what a board has timed; it began with what was there before, so that goes."""
        if not data:
            return
        folder = self._timings / key.timing_digest
        with atomic_file(folder / sha256_bytes(data), mode=0o600) as file:
            file.write(data)
        for path in folder.iterdir():
            if path.name != sha256_bytes(data):
                path.unlink(missing_ok=True)

    def race_path(self, identity: Mapping[str, object]) -> Path:
        """Return where the outcome of a race stands, if it does."""
        return self._races / f"{sha256_bytes(msgspec.json.encode(identity, order='sorted'))}.json"

    def _prune(self) -> None:
        ages = []
        for folder in self._engines.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                ages.append((folder.stat().st_mtime, folder))
        for _, folder in sorted(ages, reverse=True)[_ENGINES_MAX:]:
            shutil.rmtree(folder, ignore_errors=True)
