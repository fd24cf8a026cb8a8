"""Going back, and putting in order what was broken off: jobs `deploy.settle` and `store.rollback`; the watchdog and `prove` go back here.

What settling makes of each state is in docs/deployment.md and, as data, in its test. A step of it that is broken off leaves one of the
same states.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from . import hooks, journal, trust
from .disk import claim, locked
from .journal import app_path
from .releases import SETTLED, WATCH, Standing, complete, set_previous, standing, switch
from .store import whole
from .wire import NAME, AgentError, Progress, matching

__all__ = ["FIX", "finish", "go_back", "rollback", "settle", "settle_app", "stuck", "undone"]

FIX = "edgekit rollback tries again; edgekit deploy brings a release that works"
# What is current and must not stay so without another word in the journal.
OPEN = {
    "activated": "%s runs %.12s, which is not proven, and the board cannot go back",
    "going-back": "%s was to go back and has %.12s again, but that is not finished: its application may not be restarted",
    "proven": "%s runs %.12s, which has proved itself, but that it stays cannot be written down",
}


def go_back(root: str, app: str, deployment: str | None, why: str, by: str, progress: Progress) -> Standing:
    """Take an unproven deployment back: the links as they were, then the restart hook of the release that runs again.

    Finishes a going back that was broken off. Whoever comes second finds it done. ``deployment`` None means whichever it is.
    """
    try:
        with locked(root):
            now = standing(root, app)
            if now.state == "activated" and deployment in (None, now.entry["deployment"]):
                _swap_back(root, app, now, why, by)
        return finish(root, app, progress)
    except OSError as error:
        raise stuck(root, app, error, why) or error from error


def stuck(root: str, app: str, error: OSError, why: str | None = None) -> AgentError | None:
    """Return what to say when the disk fails under who decides what runs; None where what is current may stay so.

    Nothing of it is in the journal, which cannot be written either: status goes on telling the state and what becomes of it.
    """
    now = standing(root, app)
    if now.state not in OPEN:
        return None
    text = OPEN[now.state] % (app, now.current or "nothing")
    then = "edgekit deploy, which commits it" if now.state == "proven" else "edgekit rollback"
    return AgentError("inconsistent", "%s: %s%s" % (text, why + "; " if why else "", error), "make the disk writable, then " + then)


def _swap_back(root: str, app: str, now: Standing, why: str, by: str) -> None:
    entry = now.entry
    target, earlier, left = entry["previous"], entry.get("earlier"), entry["release"]
    more = {"deployment": entry["deployment"], "why": why, "by": by, "left": left, "before": entry.get("before")}
    wrong = whole(root, app, target, digests=True) if target else None
    if target and wrong:
        _inconsistent(root, app, now.current, target, "%s; and going back to %.12s is impossible: %s" % (why, target, wrong), more)
    switch(root, app, target, None if earlier == target else earlier, "rolled-back", **more)


def finish(root: str, app: str, progress: Progress) -> Standing:
    """Restart the application on the release gone back to, and write down how that ended."""
    now = standing(root, app)
    if now.state == "going-back":
        wrong = _restart(root, app, now.current, progress)
        if now.entry.get("before") == "inconsistent":
            wrong = wrong or "that release was not proven before either"
        with locked(root):
            if standing(root, app).state == "going-back":  # nobody else has finished it meanwhile
                with contextlib.suppress(OSError, AgentError):  # as in `complete`: the release runs, the rest is for the next job
                    set_previous(root, app, now.entry)
                if wrong:
                    why = "%s; and after going back %s" % (now.entry.get("why", ""), wrong)
                    more = {key: now.entry.get(key) for key in ("deployment", "by", "left")}
                    _inconsistent(root, app, now.current, now.current, why, more)
                complete(root, app)
        now = standing(root, app)
    return now


def _restart(root: str, app: str, release: str | None, progress: Progress) -> str | None:
    if release is None:
        return None
    try:
        restart = hooks.health_of(root, app, release).restart
    except AgentError as error:
        return error.message
    return restart and hooks.run(root, app, release, restart, "restart", restart.timeout_s, progress)


def _inconsistent(root: str, app: str, current: str | None, wanted: str | None, why: str, more: dict[str, Any]) -> None:
    journal.note(root, app, "inconsistent", current, None, wanted=wanted, **{**more, "why": why})
    raise AgentError("inconsistent", "%s runs %.12s, which is not proven: %s" % (app, current or "nothing", why), FIX)


def undone(app: str, release: str, now: Standing) -> AgentError:
    """Return the error of a deployment that was taken back."""
    runs = "%.12s runs again" % now.current if now.current else "nothing runs, as before"
    return AgentError("undone", "%.12s of %s was taken back: %s; %s" % (release, app, now.entry.get("why", "somebody else has"), runs))


def settle_app(root: str, app: str, progress: Progress) -> Standing:
    """Put one app in order; an unproven deployment that is looked after is left to whoever does."""
    now = standing(root, app)
    if now.state in SETTLED and now.entry.get("event") != "switching":
        return now
    if now.state == "proven":
        with locked(root):
            now = standing(root, app)
            if now.state == "proven":
                more = {"deployment": now.entry["deployment"], "by": "settle", "proof": now.entry.get("proof")}
                trust.committed(root, app, str(now.current))
                journal.note(root, app, "committed", now.current, now.previous, **more)
        return standing(root, app)
    guard = claim(app_path(root, app, WATCH))
    if guard is None:
        return now
    try:
        with locked(root):
            now = standing(root, app)
            if now.state in SETTLED:
                complete(root, app)
        if now.state in ("activated", "going-back"):
            why = "nobody looked after it any more: the board started anew, or the watchdog was killed"
            return go_back(root, app, None, why, "settle", progress)
        return standing(root, app)
    finally:
        os.close(guard)


def settle(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Put one app, or all of them, in order. What cannot be put in order is told after the others were."""
    apps = os.path.join(root, "apps")
    wanted = None if job.get("app") is None else matching(job["app"], NAME, "app")
    names = sorted(name for name in os.listdir(apps) if NAME.fullmatch(name)) if os.path.isdir(apps) else []
    failed: list[Exception] = []
    states, current = {}, {}
    for app in names:
        if wanted in (None, app):
            try:
                now = settle_app(root, app, progress)
                states[app], current[app] = now.state, now.current
            except AgentError as error:
                failed.append(error)
            except OSError as error:
                failed.append(stuck(root, app, error) or error)
    if failed:
        raise failed[0]
    return {"apps": states, "current": current}


def rollback(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Switch an app back to what it ran before, by the operator's wish, after every digest of that was verified.

    An unproven deployment is taken back at once. With ``deployment`` only that one is, and only while it is unproven.
    """
    app, only = matching(job.get("app"), NAME, "app"), job.get("deployment")
    if only is not None:
        matching(only, journal.DEPLOYMENT, "deployment")
        now = go_back(root, app, only, "the host was told to stop", "operator", progress)
        return {"app": app, "release": now.current, "previous": now.previous, "changed": now.entry.get("deployment") == only}
    now = standing(root, app)
    left = now.current
    if now.state in ("activated", "going-back"):
        now = go_back(root, app, None, "an operator asked for it", "operator", progress)
    else:
        settle_app(root, app, progress)
        with locked(root):
            now = standing(root, app)
            left, target = now.current, now.previous
            if now.state == "inconsistent" and now.entry.get("wanted"):
                target = now.entry["wanted"]
            if target is None or (target == left and now.state != "inconsistent"):
                raise AgentError("state", "%s has no earlier release to go back to" % app)
            wrong = whole(root, app, target, digests=True)
            if wrong:
                text = "%s cannot go back to release %.12s: %s" % (app, target, wrong)
                raise AgentError("state", text, "deploy that release again")
            earlier = now.previous if left == target else left
            switch(root, app, target, None if earlier == target else earlier, "rolled-back", by="operator", why="an operator asked for it")
        now = finish(root, app, progress)
    return {"app": app, "release": now.current, "previous": now.previous, "changed": True, "left": left}
