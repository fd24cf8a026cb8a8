"""The board's wall clock is set between the switch and the proof: the deployment ends as ever, and neither its lease nor its deadline
comes sooner or later for it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from edgekit.devices.session import AgentSession
from edgekit.pipeline.releases import status
from tests.survival.inside import inside
from tests.survival.material import Sample, put

_DECADE_S = 10 * 365 * 86400.0
# The second: a board that has not gone back by then will not.
_DEADLINE_S, _NEVER_S = 2.0, 60.0

_set = pytest.mark.parametrize("jump_s", [_DECADE_S, -_DECADE_S], ids=["forward", "back"])


class _HostDiedError(Exception):
    """Nobody is there any more to prove the release, or to take it back."""


@_set
def test_a_clock_that_is_set_decides_nothing(jump_s: float, samples: dict[str, Sample], memory: Path) -> None:
    job, clock, jumped = AgentSession.job, time.time, [0.0]
    left_s = []

    def setting(session: AgentSession, name: str, **fields: Any) -> dict[str, Any]:
        data = job(session, name, **fields)
        if name == "deploy.activate":
            jumped[0] = jump_s
            left_s.append(job(session, "lease.show", timeout_s=60)["lease"]["left_s"])
            time.sleep(0.1)  # the watchdog looks every millisecond
        return data

    def wall_s() -> float:
        return clock() + jumped[0]

    with inside(memory / "root") as device:
        put(samples["plain"], device)
        with mock.patch.object(time, "time", wall_s), mock.patch.object(AgentSession, "job", setting):
            put(samples["hooks"], device, deadline_s=60.0)  # whose hooks run only while there is time left
        (app,) = status(device).apps
    assert (app.current, app.state, app.why) == (samples["hooks"].digest, "committed", None)
    assert 0 < left_s[0] < 3600


@_set
def test_a_deadline_comes_when_the_boards_time_since_boot_says_so(jump_s: float, samples: dict[str, Sample], memory: Path) -> None:
    job, clock, jumped = AgentSession.job, time.time, [0.0]
    switching_s = []

    def dying(session: AgentSession, name: str, **fields: Any) -> dict[str, Any]:
        if name == "deploy.activate":
            switching_s.append(_since_boot_s())
        if name == "deploy.prove":
            jumped[0] = jump_s
            raise _HostDiedError
        return job(session, name, **fields)

    def wall_s() -> float:
        return clock() + jumped[0]

    with inside(memory / "root") as device, mock.patch.object(time, "time", wall_s):
        put(samples["plain"], device)
        with mock.patch.object(AgentSession, "job", dying), pytest.raises(_HostDiedError):
            put(samples["hooks"], device, deadline_s=_DEADLINE_S)
        while True:
            (app,) = status(device).apps
            passed_s = _since_boot_s() - switching_s[0]
            if app.state == "rolled-back" or passed_s > _NEVER_S:
                break
            time.sleep(0.02)
    assert (app.current, app.state, app.by) == (samples["plain"].digest, "rolled-back", "watchdog")
    assert passed_s >= _DEADLINE_S, "it went back before its time"


def _since_boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
