"""``Surface``: a place where edgekit takes what it does not trust, with a strategy for hostile cases; and how cases are run."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from tests.fuzz.guard import snapshot, watched

# No disk: what is written is deleted at once, and fsync would take most of the time.
MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Surface:
    """One place, and what may happen there.

    Attributes
    ----------
    share
        How many of a hundred cases of a whole run go here.
    cases
        Makes the strategy.
    run
        Takes a case and a folder, the only one it may write in; returns or raises one of ``refusals``.
    refusals
        The errors that say no. Anything else is a crash.
    programs
        What may be run there.
    """

    share: int
    cases: Callable[[], SearchStrategy[Any]]
    run: Callable[[Any, Path], object]
    refusals: tuple[type[Exception], ...]
    programs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Figures:
    """How many cases ran, how many of them were taken, and how long all of them took."""

    cases: int
    taken: int
    seconds: float


def attack(surface: Surface, cases: int, seed: int) -> Figures:
    """Run so many cases against a surface; the first that crashes, hangs or breaks out is raised, made small by hypothesis."""
    begun, counts = time.monotonic(), {"cases": 0, "taken": 0}
    with tempfile.TemporaryDirectory(prefix="edgekit-fuzz-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        around = Path(folder).resolve()
        inside = around / "inside"
        inside.mkdir()
        (around / "beside").mkdir()
        (around / "beside" / "file").write_bytes(b"not yours")
        (around / "inside.beside").write_bytes(b"nor this")
        before = snapshot(around, inside)

        def one(case: Any) -> None:
            counts["cases"] += 1
            with watched(inside, surface.programs), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # numpy tells of headers that Python 2 would have written
                try:
                    surface.run(case, inside)
                except surface.refusals:
                    return
            counts["taken"] += 1

        while counts["cases"] < cases:  # hypothesis stops early where it has seen all there is
            left = cases - counts["cases"]
            limits = settings(
                max_examples=left,
                database=None,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            )
            hypothesis.seed(seed + counts["cases"])(limits(given(surface.cases())(one)))()
        if (after := snapshot(around, inside)) != before:
            raise AssertionError(f"what stands beside the sandbox has changed: {set(after) ^ set(before)}")
    return Figures(counts["cases"], counts["taken"], time.monotonic() - begun)
