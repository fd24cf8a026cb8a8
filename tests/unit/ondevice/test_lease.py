"""Leases: how long one lasts whatever the clocks do, who may do what under it, and that a running job keeps others out."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice import agent as agent_module
from edgekit.ondevice import lease
from edgekit.ondevice.clock import boot_id, boottime_s
from edgekit.ondevice.wire import AgentError

from .conftest import Agent

NOW_S = 1_790_000_000.0
MINE, OTHERS = "a" * 32, "b" * 32
WHO = {"owner": "ann@laptop", "reason": "measuring"}


def refusal(agent: Agent, lease: str | None = None) -> str | None:
    """Ask for a job that changes the board, and finds nothing to do; returns why somebody's lease forbids it."""
    code, events = agent.run("store.rollback", app="none", **({"lease": lease} if lease else {}))
    assert code == 1
    assert events[-1]["kind"] in ("busy", "state")
    return str(events[-1]["message"]) if events[-1]["kind"] == "busy" else None


def written(**more: Any) -> dict[str, Any]:
    return {"boot": "one", "uptime_s": 1000.0, "wall_s": NOW_S, "ttl_s": 120.0, "token": MINE, "renews": False, **WHO, **more}


@pytest.mark.parametrize(
    ("boot", "uptime_s", "wall_s", "left_s"),
    [
        ("one", 1000, NOW_S, 120),
        ("one", 1100, NOW_S + 100, 20),
        ("one", 1121, NOW_S + 121, -1),
        ("one", 1010, NOW_S + 86400, 110),  # the wall clock was set forward: it has no say
        ("one", 1121, NOW_S - 86400, -1),  # or back
        ("one", 990, NOW_S, 120),  # never more than its whole time
        ("two", 10, NOW_S + 40, 80),  # rebooted: the wall clock knows more than the new boot
        ("two", 10, NOW_S + 500, -380),
        ("two", 30, NOW_S - 3600, 90),  # set back meanwhile: the new boot's own time counts
        ("two", 30, 15.0, 90),  # a board without a battery begins in 1970
        ("two", 121, 15.0, -1),
    ],
)
def test_how_long_it_lasts(boot: str, uptime_s: float, wall_s: float, left_s: float) -> None:
    assert lease.left_s(written(), boot, uptime_s, wall_s) == left_s


def test_a_clock_that_was_never_set_when_it_was_taken_has_no_say_later() -> None:
    assert lease.left_s(written(wall_s=20.0), "two", 30, NOW_S) == 90


@pytest.mark.parametrize(
    ("on_board", "ttl_s", "carried", "why"),
    [
        (None, 60, None, None),
        (None, 60, MINE, "the lease was lost; nobody holds the board"),
        (MINE, 60, None, "ann@laptop holds the board: measuring (for "),
        (MINE, 60, MINE, None),
        (MINE, 60, OTHERS, "the lease was lost; ann@laptop holds the board now: measuring"),
        (MINE, 0, None, None),
        (MINE, 0, MINE, None),  # its time is up, but nobody came
        (MINE, 0, OTHERS, "the lease was lost; ann@laptop holds the board now: measuring"),
    ],
)
def test_who_may_run_a_job(each_agent: Agent, on_board: str | None, ttl_s: float, carried: str | None, why: str | None) -> None:
    each_agent.root.mkdir(mode=0o700)
    if on_board:
        text = json.dumps(written(token=on_board, ttl_s=ttl_s, boot=boot_id(), uptime_s=boottime_s()))
        (each_agent.root / "lease.json").write_text(text)
    said = refusal(each_agent, carried)
    if why is None:
        assert said is None
        assert (each_agent.root / "lease.json").exists() == (carried is not None), "what has run out is cleared away by the next who comes"
    else:
        assert said is not None
        assert said.startswith(why)


def take(agent: Agent, token: str, ttl_s: float = 100.0, **more: Any) -> dict[str, Any]:
    return agent.ask("lease.take", token=token, ttl_s=ttl_s, **{**WHO, **more})


def test_take_show_release(each_agent: Agent) -> None:
    assert each_agent.ask("lease.show") == {"lease": None, "forced": None}
    first = take(each_agent, MINE)["lease"]
    assert (first["owner"], first["reason"]) == ("ann@laptop", "measuring")
    assert 99 < take(each_agent, MINE, ttl_s=200)["lease"]["left_s"] - 100 <= 100, "one's own begins anew"
    event = each_agent.refuse("lease.take", token=OTHERS, ttl_s=5, owner="bob@ci", reason="nightly")
    assert event["message"].startswith("ann@laptop holds the board: measuring (for ")
    assert each_agent.refuse("lease.release", token=OTHERS)["kind"] == "busy"
    assert MINE not in json.dumps(each_agent.ask("lease.show")), "the token is the holder's alone"
    each_agent.ask("lease.release", token=MINE)
    assert each_agent.ask("lease.release", token=MINE)["lease"] is None, "asked again, yes again"
    take(each_agent, OTHERS)


def test_force_is_recorded(each_agent: Agent) -> None:
    take(each_agent, MINE)
    answer = each_agent.ask("lease.release", token=OTHERS, owner="bob@ci", force=True)
    assert answer["lease"] is None
    assert {key: answer["forced"][key] for key in ("owner", "reason", "by")} == {**WHO, "by": "bob@ci"}
    assert refusal(each_agent, MINE) == "the lease was lost; nobody holds the board"


def test_jobs_renew_a_lease_that_says_so_once_a_third_has_passed(agent: Agent) -> None:
    for renews in (True, False):
        take(agent, MINE, renews=renews)
        path = agent.root / "lease.json"
        old = json.loads(path.read_text())
        path.write_text(json.dumps({**old, "uptime_s": old["uptime_s"] - 50}))
        assert refusal(agent, MINE) is None
        assert (agent.ask("lease.show")["lease"]["left_s"] > 90) is renews


def test_a_running_job_keeps_others_out_though_the_time_is_up(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LOCK_TRIES", 1)
    root = str(agent.root)
    fields = {"ttl_s": 100.0, **WHO}
    lease.take({"token": MINE, **fields}, root, _silent)
    path = agent.root / "lease.json"
    with lease.guarded({"lease": MINE}, root):
        old = json.loads(path.read_text())
        path.write_text(json.dumps({**old, "ttl_s": 0.0}))
        for refused in (lambda: lease.take({"token": OTHERS, **fields}, root, _silent), lambda: lease.guarded({}, root).__enter__()):
            with pytest.raises(AgentError, match=r"ann@laptop holds the board: measuring \(its time is up, its job still runs\)"):
                refused()
    lease.take({"token": OTHERS, **fields}, root, _silent)


def test_nobody_takes_the_board_under_a_job_without_a_lease(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LOCK_TRIES", 1)
    with lease.guarded({}, str(agent.root)):
        with lease.guarded({}, str(agent.root)):  # two such jobs are as they ever were: each locks what it changes
            with pytest.raises(AgentError, match="another edgekit job is at work"):
                lease.take({"token": MINE, "ttl_s": 5, **WHO}, str(agent.root), _silent)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"token": 1}', json.dumps(written(owner="two\nlines")), json.dumps(written(ttl_s=-1)), "9" * 5000]
)
def test_what_is_no_lease_is_none(each_agent: Agent, text: str) -> None:
    each_agent.root.mkdir(mode=0o700)
    (each_agent.root / "lease.json").write_text(text)
    assert refusal(each_agent) is None


@pytest.mark.parametrize("fields", [{"token": "x"}, {"owner": ""}, {"reason": "a\nb"}, {"ttl_s": 0}, {"ttl_s": 1e9}, {"reason": "x" * 201}])
def test_what_is_no_request_is_refused(agent: Agent, fields: dict[str, Any]) -> None:
    assert agent.refuse("lease.take", **{"token": MINE, "ttl_s": 5, **WHO, **fields})["kind"] == "usage"


def test_every_job_but_the_looking_ones_is_guarded(agent: Agent) -> None:
    take(agent, MINE)
    for job in sorted(set(agent_module.JOBS) - agent_module.UNGUARDED):
        assert agent.refuse(job)["kind"] == "busy", job
    for job in ("facts", "store.status"):
        agent.ask(job)


def _silent(_stage: str, _done: int, _total: int) -> None:
    """No progress is looked at."""


def test_a_lock_of_a_killed_job_is_no_lock(agent: Agent, tmp_path: Path) -> None:
    agent.root.mkdir(mode=0o700)
    child = os.fork()
    if child == 0:
        handle = os.open(agent.root / "lease.lock", os.O_RDONLY | os.O_CREAT, 0o600)
        fcntl.flock(handle, fcntl.LOCK_SH)
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    take(agent, MINE)
