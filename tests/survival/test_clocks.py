"""The board's wall clock is set between the switch and the proof: the deployment ends as ever, and a lease is no longer for it."""

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


@pytest.mark.parametrize("jump_s", [_DECADE_S, -_DECADE_S], ids=["forward", "back"])
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
        put(samples["hooks"], device)
        with mock.patch.object(time, "time", wall_s), mock.patch.object(AgentSession, "job", setting):
            put(samples["plain"], device, deadline_s=60.0)
        (app,) = status(device).apps
    assert (app.current, app.state, app.why) == (samples["plain"].digest, "committed", None)
    assert 0 < left_s[0] < 3600
