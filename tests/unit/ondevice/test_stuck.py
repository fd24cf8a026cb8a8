"""A disk that can no longer be written, after the switch: what is said, and what becomes of it once it can be."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice import agent, deploy, disk, lease, recover, releases
from edgekit.ondevice.stdin import Stdin
from edgekit.ondevice.wire import AgentError, encode_job

from .test_recover import ACTIVATED, PROVEN, TWO_RUNS, WENT, App, D, app, quiet, staged

__all__ = ["app", "staged"]

OPEN = os.open
STATES = {"activated": ACTIVATED, "proven": PROVEN, "going-back": WENT}


@pytest.fixture(params=[errno.EROFS, errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def full(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OSError:
    """Let every opening for writing fail as the kernel would."""
    error, opened = OSError(request.param, os.strerror(request.param)), os.open

    def refuse(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise error
        return opened(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    return error


def run(app: App, job: str, **fields: Any) -> None:
    line = os.memfd_create("stdin")
    os.write(line, encode_job(job, app.root, {"app": "meter", **fields}))
    os.lseek(line, 0, os.SEEK_SET)
    try:
        agent._run(io.BytesIO(), Stdin(line))
    finally:
        os.close(line)


@pytest.mark.parametrize("job", ["store.rollback", "deploy.commit", "deploy.settle"])
@pytest.mark.parametrize("state", STATES)
def test_what_cannot_be_undone_is_inconsistent(app: App, state: str, job: str, full: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(os, "open", OPEN)
        app.do(STATES[state])
    fields = {"release": app.release[3], "deployment": D} if job == "deploy.commit" else {}
    with pytest.raises(AgentError) as caught:
        run(app, job, **fields)
    assert caught.value.kind == "inconsistent"
    current = app.release[2 if state == "going-back" else 3]
    assert f"{current:.12}" in caught.value.message
    assert str(full.strerror) in caught.value.message
    then = "edgekit deploy, which commits it" if state == "proven" else "edgekit rollback"
    assert caught.value.fix == f"make the disk writable, then {then}"
    (told,) = releases.status({}, app.root, quiet)["apps"]
    assert (told["state"], bool(told["next"])) == (state, True)
    monkeypatch.undo()
    assert recover.settle({}, app.root, quiet)["apps"]["meter"] == ("committed" if state == "proven" else "rolled-back")


def test_where_what_was_current_stays_it_is_an_ordinary_refusal(app: App, full: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(os, "open", OPEN)
        app.do(TWO_RUNS)
    with pytest.raises(OSError, match=full.strerror):
        run(app, "store.rollback")
    assert app.stands() == ("committed", 2, 1, [])


def test_what_stays_stays_though_nothing_can_be_removed(app: App, full: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", OPEN)
    app.do(ACTIVATED)
    with disk.locked(app.root):
        app.note("proven", 3, 2, deployment=D)
    monkeypatch.setattr(deploy, "prune", lambda *_: (_ for _ in ()).throw(full))
    run(app, "deploy.commit", release=app.release[3], deployment=D)
    assert app.stands() == ("committed", 3, 2, [])


def test_a_full_disk_keeps_no_holder_from_going_back(app: App, full: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = {"token": "ab" * 16, "owner": "ann@laptop", "reason": "deploy", "ttl_s": 60.0, "renews": True}
    with monkeypatch.context() as before:
        before.setattr(os, "open", OPEN)
        app.do(TWO_RUNS)
        lease.take(mine, app.root, quiet)
    assert lease.take(mine, app.root, quiet)["lease"]["owner"] == "ann@laptop"
    with pytest.raises(OSError, match=full.strerror):
        lease.take({**mine, "token": "cd" * 16, "ttl_s": 1.0}, str(Path(app.root, "apps")), quiet)
    monkeypatch.setattr(lease, "_left_s", lambda held: 1.0)
    with lease.guarded({"lease": mine["token"]}, app.root):
        assert disk.held(app.root) is False
