"""``Health``: what a release must show on a board, beyond right answers, before it counts as deployed. In ``[deploy]`` and the manifest."""

from __future__ import annotations

from typing import Annotated

import msgspec

__all__ = ["HOOKS", "Health", "Hook"]

HOOKS = "hooks"
"""The bundle's folder of the project's own programs: ``./check.sh`` in a hook is ``hooks/check.sh`` there, run in the release's folder."""

_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=4096, pattern=r"^[^\x00]*\Z")]


class Hook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command on the board, without a shell; good when it ends with status 0 in its time."""

    command: Annotated[tuple[_Word, ...], msgspec.Meta(min_length=1, max_length=64)]
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0


class Health(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is asked after the switch, in this order, once the golden samples have answered rightly.

    Attributes
    ----------
    latency_p99_ms
        Ceiling of the invoke time's 99th percentile, from a short run: it stops a gross mistake, it is no measurement.
    restart
        Makes the application on the board take up the new release; run for the old one, too, when the board goes back.
    check
        Says whether the application is well.
    """

    latency_p99_ms: Annotated[float, msgspec.Meta(gt=0)] | None = None
    restart: Hook | None = None
    check: Hook | None = None
