"""An app as it was before a trial: job `store.restore`, by which `edgekit ci` takes back a release that was to be measured, not to stay.

`store.rollback` leaves as ``previous`` what it came from; here both links become what they were, and the release that came for the trial
goes. Asked again, it finds things done.
"""

from __future__ import annotations

import contextlib
from typing import Any

from .disk import locked
from .journal import DEPLOYMENT
from .prune import drop
from .recover import finish, go_back, settle_app
from .releases import set_previous, standing, switch
from .store import whole
from .wire import DIGEST, NAME, AgentError, Progress, matching

__all__ = ["restore"]

WHY = "a trial of another release is over"


def restore(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Set ``current`` and ``previous`` of an app, null for none, and remove the release ``tried``, if any; restart what runs again."""
    app, deployment = matching(job.get("app"), NAME, "app"), matching(job.get("deployment"), DEPLOYMENT, "deployment")
    current, previous, tried = (
        None if job.get(key) is None else matching(job[key], DIGEST, key) for key in ("current", "previous", "tried")
    )
    if standing(root, app).state in ("activated", "going-back"):
        go_back(root, app, None, WHY, "operator", progress)
    else:
        settle_app(root, app, progress)
    with locked(root):
        now = standing(root, app)
        if now.current != current:
            wrong = whole(root, app, current, digests=True) if current else None
            if wrong:
                text = "%s cannot go back to release %.12s: %s" % (app, current, wrong)
                raise AgentError("inconsistent", text, "deploy that release again")
            more = {"deployment": deployment, "by": "operator", "why": WHY, "left": now.current}
            switch(root, app, current, previous, "rolled-back", **more)
        elif now.previous != previous:
            set_previous(root, app, {"previous": previous, "deployment": deployment})
    now = finish(root, app, progress)
    dropped = False
    if tried and tried != now.current:
        with locked(root), contextlib.suppress(OSError):  # what runs is right; a failing disk leaves the rest to the next commit
            dropped = drop(root, app, tried)
    return {"app": app, "release": now.current, "previous": now.previous, "dropped": dropped}
