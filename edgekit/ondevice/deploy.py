"""The steps of a deployment that decide which release runs: jobs `deploy.activate` and `deploy.commit`; between them comes `prove`.

Each may be asked again, by the host that lost its link: it says what it said before.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from . import boot, journal, trust
from .clock import boot_id, boottime_s
from .disk import locked
from .library import offer
from .prune import prune
from .recover import FIX, settle_app, undone
from .releases import SETTLED, complete, named, standing, switch
from .runner import find_release
from .store import MANIFEST, read_manifest, release_path, whole
from .watch import see_off, start
from .wheels import sweep
from .wire import AgentError, Progress, integer, number

__all__ = ["activate", "commit"]

DEADLINE_MAX_S, KEEP_MAX = 86400.0, 1000


def activate(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Switch an app to a staged release, unproven yet: from here on the board goes back by itself unless it is proven in time."""
    (app, release, deployment), seconds = named(job), number(job, "deadline_s", 0, DEADLINE_MAX_S, 600.0)
    settle_app(root, app, progress)
    see_off(root, app)
    with locked(root):
        now = standing(root, app)
        if now.entry.get("deployment") == deployment and now.state == "rolled-back":
            raise undone(app, release, now)
        if now.entry.get("deployment") == deployment and now.state == "inconsistent":
            raise AgentError("inconsistent", "%s runs %.12s: %s" % (app, now.current or "nothing", now.entry.get("why")), FIX)
        if now.entry.get("deployment") == deployment and now.state != "going-back":
            complete(root, app)
            return {"app": app, "release": release, "previous": now.previous, "changed": True}
        if now.state not in SETTLED:
            left = max(0, int(now.entry.get("deadline", 0) - boottime_s()))
            raise AgentError("busy", "another deployment of %s is being decided; that takes %d s more at most" % (app, left))
        wrong = whole(root, app, release, digests=False)
        if wrong:
            raise AgentError("state", "release %.12s of %s cannot be activated: %s" % (release, app, wrong), "stage it again")
        if now.current == release:  # the board has taken it before, and a rollback may have brought it back
            return {"app": app, "release": release, "previous": now.previous, "changed": False}
        trust.standing(root, app, release)
        if read_manifest(os.path.join(release_path(root, app, release), MANIFEST))[0].get("recipe") is not None:
            find_release(job, root)  # refuses one whose engine is not built
            journal.note(root, app, "finished", release, deployment=deployment)
        previous = now.previous
        if now.current and whole(root, app, now.current, digests=False) is None:
            previous = now.current  # a damaged release is nothing to go back to: then what was previous stays
        previous = None if previous == release else previous
        offer(root)
        journal.reserve(root, app)
        boot.keep(root)
        deadline = boottime_s() + seconds
        start(root, app, deployment, deadline)
        more = {"deployment": deployment, "deadline": deadline, "boot": boot_id(), "earlier": now.previous, "before": now.state}
        switch(root, app, release, previous, "activated", **more)
        complete(root, app)
    return {"app": app, "release": release, "previous": previous, "changed": True}


def commit(job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Make a proven deployment the one that stays, and prune what nobody needs any more."""
    (app, release, deployment), keep = named(job), integer(job, "keep", 2, KEEP_MAX, 3)
    with locked(root):
        now = standing(root, app)
        mine = [entry for entry in journal.entries(root, app) if entry["deployment"] == deployment and entry["event"] in journal.STATES]
        if now.state == "proven" and now.entry["deployment"] == deployment and now.current == release:
            trust.committed(root, app, release)
            journal.note(root, app, "committed", release, now.previous, deployment=deployment, by="host", proof=now.entry.get("proof"))
        elif not any(entry["event"] == "committed" for entry in mine):
            text = "release %.12s of %s cannot be committed: it was not proven; %s is current" % (release, app, now.current or "nothing")
            raise AgentError("state", text, "deploy it again")
        pruned: list[str] = []
        with contextlib.suppress(OSError):  # the release stays, that is written; what a failing disk does not let go is for the next commit
            pruned = prune(root, app, keep)
            sweep(root)
    return {"app": app, "release": release, "pruned": pruned}
