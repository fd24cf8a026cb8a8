"""The budget search's memory: each trial and each step of the ranking, written as it is known.

``build`` opens one per search. A search that was stopped goes on from it and ends as one that never was, for a trial
depends on nothing but what ``identity`` names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from edgekit.digest import sha256_bytes
from edgekit.errors import InputError
from edgekit.quantize.sensitivity import Step
from edgekit.trial import Trial

__all__ = ["Journal"]

_LINES_MAX = 100_000


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    trial: Trial | None = None
    step: Step | None = None


class Journal:
    """One search's file, one JSON line per finding.

    Parameters
    ----------
    folder
        Where journals are; made if need be. None keeps the memory for this process alone.
    identity
        What a trial depends on: digests of plan, evaluation set and promise, versions of the tools.
    resume
        Go on from what an earlier search of the same identity left; else that is deleted.

    Raises
    ------
    InputError
        The folder cannot be written to.
    """

    def __init__(self, folder: Path | None, identity: Mapping[str, str], *, resume: bool) -> None:
        self._trials: dict[frozenset[str], Trial] = {}
        self._steps: list[Step] = []
        self.path: Path | None = None
        if folder is None:
            return
        self.path = folder / f"search-{sha256_bytes(msgspec.json.encode(dict(identity), order='sorted'))[:32]}.jsonl"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if resume:
                self._load()
            else:
                self.path.unlink(missing_ok=True)
            # What cannot be written is better known before hours of work than after.
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}: the search cannot keep its journal", fix="set XDG_CACHE_HOME") from error

    def _load(self) -> None:
        """Read what is whole; a line that a crash broke off is cut away, so that the next one starts afresh."""
        if self.path is None or not self.path.exists():
            return
        whole = 0
        with self.path.open("rb") as file:
            for number, raw in enumerate(file):
                try:
                    line = msgspec.json.decode(raw, type=_Line)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    break
                if not raw.endswith(b"\n") or number >= _LINES_MAX:
                    break
                whole += len(raw)
                if line.trial:
                    self._trials[frozenset(line.trial.kept)] = line.trial
                if line.step:
                    self._steps.append(line.step)
        os.truncate(self.path, whole)

    @property
    def known(self) -> int:
        """How many trials an earlier search left."""
        return len(self._trials)

    def judging(self, judge: Callable[[Sequence[str]], Trial]) -> Callable[[Sequence[str]], Trial]:
        """Return the same judge with a memory."""

        def remembering(kept: Sequence[str]) -> Trial:
            key = frozenset(kept)
            if key not in self._trials:
                self._trials[key] = judge(kept)
                self._append(_Line(trial=self._trials[key]))
            return self._trials[key]

        return remembering

    def ranking(self, steps: Callable[[], Iterator[Step]]) -> Iterator[Step]:
        """Yield the steps that are known, then those of ``steps()`` behind them; it is only called when they run out."""
        yield from tuple(self._steps)
        for number, step in enumerate(steps()):
            if number >= len(self._steps):
                self._steps.append(step)
                self._append(_Line(step=step))
                yield step

    def close(self) -> None:
        """Forget the search: it is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _append(self, line: _Line) -> None:
        if self.path is None:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with os.fdopen(os.open(self.path, flags, 0o600), "ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())
