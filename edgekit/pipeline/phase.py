"""The arithmetic of a phased roll-out: how many boards a phase has, and what it all ends in. Called by `edgekit.pipeline.rollout`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from edgekit import errors

__all__ = ["BATCH", "Plan", "batch_boards", "phases", "worst"]

BATCH = r"[1-9][0-9]{0,4}|[1-9][0-9]?%|100%"

_BUG = errors.EdgekitError.exit_code
# What needs a person first: a board in no known state, a mistake of ours, a release that was refused or undone, a board that is not
# reached, one that took too long, one that somebody else holds.
_WORST_FIRST = (
    errors.InconsistentError.exit_code,
    _BUG,
    errors.DeployError.exit_code,
    errors.DeviceError.exit_code,
    errors.DeadlineError.exit_code,
    errors.BusyError.exit_code,
)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a roll-out proceeds.

    Attributes
    ----------
    canary
        Boards of the first phase.
    batch
        Boards of each later phase: a number, or a share of all boards (``10%``).
    max_failures
        More failures than that, and no further board is begun.
    pause_s
        Between two phases.
    parallel
        Boards at the same time.
    """

    canary: Annotated[int, msgspec.Meta(ge=0)] = 1
    batch: Annotated[str, msgspec.Meta(pattern=rf"^({BATCH})\Z")] = "100%"
    max_failures: Annotated[int, msgspec.Meta(ge=0)] = 0
    pause_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    parallel: Annotated[int, msgspec.Meta(ge=1)] = 8


def batch_boards(batch: str, boards: int) -> int:
    """Return how many boards a batch has; a share is rounded up, so that it is at least one."""
    return -(-boards * int(batch[:-1]) // 100) if batch.endswith("%") else int(batch)


def phases(boards: int, plan: Plan) -> tuple[int, ...]:
    """Return the sizes of a roll-out's phases: the canaries, then batches until all boards are in one."""
    sizes = [min(plan.canary, boards)] if plan.canary and boards else []
    left, size = boards - sum(sizes), batch_boards(plan.batch, boards) if boards else 1
    return (*sizes, *(min(size, left - begun) for begun in range(0, left, size)))


def worst(codes: Iterable[int]) -> int:
    """Return the exit code that speaks for all boards: 0 only when each is done, otherwise that of the worst failure."""
    failed = sorted(set(codes) - {0}, key=lambda code: (_WORST_FIRST.index(code) if code in _WORST_FIRST else len(_WORST_FIRST), code))
    return failed[0] if failed else 0
