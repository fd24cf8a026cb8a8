"""Which release an app runs, and how the deployment that brought it stands. Job `store.status`; the jobs ``deploy.*`` switch here.

``current`` and ``previous`` are links to ``releases/<digest>``. A switch writes into the journal what it is about to do, swaps ``current``,
sets ``previous``, writes that it is done; each step is durable before the next. A switch counts once its ``current`` has moved; the next
job finishes one that was broken off after that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from typing import Any, NamedTuple

from . import journal, trust
from .clock import boottime_s
from .disk import free_bytes, fsync_path, switch_link
from .journal import app_path
from .store import MANIFEST, read_manifest, release_path, whole
from .wire import DIGEST, NAME, AgentError, Progress, matching

__all__ = ["SETTLED", "WATCH", "Standing", "complete", "named", "read_link", "set_previous", "standing", "status", "switch", "watched"]

LINK = re.compile(r"releases/([0-9a-f]{64})")
WATCH = ".watch"  # locked by whoever looks after an app's unproven deployment
# States in which nobody has to do anything before the next deployment; see `standing`.
SETTLED = ("none", "committed", "rolled-back", "inconsistent", "unknown")


class Standing(NamedTuple):
    """How an app stands.

    ``state`` is ``none`` (nothing current, nothing written), an event of `journal.STATES`, or ``unknown`` (the journal does not tell of
    what is current). ``activated`` stands for the switch once it has happened, finished or not, and ``going-back`` for the one that undoes
    it until it is finished. ``entry`` is what the journal says of it.
    """

    state: str
    current: str | None
    previous: str | None
    entry: dict[str, Any]


def read_link(root: str, app: str, name: str) -> str | None:
    """Return the release that ``current`` or ``previous`` names; a link to anywhere else counts as none."""
    try:
        found = LINK.fullmatch(os.readlink(app_path(root, app, name)))
    except OSError:
        return None
    return found.group(1) if found else None


def named(job: dict[str, Any]) -> tuple[str, str, str]:
    """Return the app, the release and the deployment that a job names."""
    app, release = matching(job.get("app"), NAME, "app"), matching(job.get("release"), DIGEST, "release")
    return app, release, matching(job.get("deployment"), journal.DEPLOYMENT, "deployment")


def standing(root: str, app: str) -> Standing:
    """Return how an app stands; changes nothing."""
    while True:
        current, previous = read_link(root, app, "current"), read_link(root, app, "previous")
        found = [entry for entry in journal.entries(root, app) if entry["event"] in journal.STATES]
        if read_link(root, app, "current") == current:
            break  # else a switch came between the two, and what was read belongs to no one moment: who looks need not hold the lock
    while found and found[-1]["event"] == "switching" and found[-1]["release"] != current:
        found.pop()  # it never came to the swap
    entry = found[-1] if found else {}
    if not found or entry["release"] != current:
        return Standing("none" if current is None and not found else "unknown", current, previous, entry)
    state = entry["event"]
    if state == "switching":
        state, previous = ("activated" if entry["becomes"] == "activated" else "going-back"), entry["previous"] or previous
    if entry["deployment"] is None and "by" not in entry:  # the edgekit before this one had shown that it answers rightly, then switched
        state = {"activated": "committed", "going-back": "rolled-back"}.get(state, state)
    return Standing(state, current, previous, entry)


def switch(root: str, app: str, release: str | None, previous: str | None, becomes: str, **more: Any) -> None:
    """Write the intent and swap ``current``; None takes the link away. `complete` follows. The caller holds the root `locked`."""
    journal.note(root, app, "switching", release, previous, becomes=becomes, **more)
    _link(root, app, "current", release)


def complete(root: str, app: str) -> None:
    """Finish a switch that has happened: ``previous``, then the entry. The caller holds the root `locked`."""
    entry = standing(root, app).entry
    if entry.get("event") == "switching":
        with contextlib.suppress(OSError, AgentError):  # the release runs; a full disk, say, leaves the rest to the next job
            set_previous(root, app, entry)
            kept = {key: value for key, value in entry.items() if key not in ("time", "event", "release", "previous", "becomes")}
            journal.note(root, app, entry["becomes"], entry["release"], entry["previous"], **kept)


def set_previous(root: str, app: str, entry: dict[str, Any]) -> None:
    """Let ``previous`` be what a switch's entry says; the edgekit before this one left it where it said nothing."""
    if entry["previous"] or entry["deployment"]:
        _link(root, app, "previous", entry["previous"])


def _link(root: str, app: str, name: str, release: str | None) -> None:
    path = app_path(root, app, name)
    if release is not None:
        switch_link(path, "releases/" + release)
    elif os.path.lexists(path):
        os.unlink(path)
        fsync_path(os.path.dirname(path))


def watched(root: str, app: str) -> bool:
    """Tell whether somebody looks after the app's deployment; a disk that cannot be written to does not keep us from it."""
    try:
        handle = os.open(app_path(root, app, WATCH), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def status(job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Describe one app, or all of them; changes nothing. ``bytes`` is the size of the current release."""
    apps = os.path.join(root, "apps")
    wanted = None if job.get("app") is None else matching(job["app"], NAME, "app")
    names = sorted(name for name in os.listdir(apps) if NAME.fullmatch(name)) if os.path.isdir(apps) else []
    return {"apps": [_describe(root, name) for name in names if wanted in (None, name)], "free_bytes": free_bytes(root)}


def _next(root: str, app: str, now: Standing) -> str | None:
    """Say what becomes of a state that is not to stay; what settling makes of it is `recover.settle_app`'s to know."""
    if now.state == "inconsistent":
        return "edgekit rollback tries again to go back; edgekit deploy brings a release that works"
    if now.state in SETTLED:
        return None
    if now.state == "proven":
        return "it stays: the next deployment, rollback or start of the board commits it"
    back = "%.12s" % now.entry["previous"] if now.state == "activated" and now.entry["previous"] else "what ran before"
    if watched(root, app):
        left = max(0.0, now.entry.get("deadline", 0.0) - boottime_s())
        return "goes back to %s unless it is proven, within %d s" % (back, left) if now.state == "activated" else "is going back"
    return "nobody watches it: the next deployment, rollback or start of the board goes back to %s" % back


def _describe(root: str, app: str) -> dict[str, Any]:
    now, folder = standing(root, app), os.path.dirname(release_path(root, app, ""))
    sound = now.current is not None and whole(root, app, now.current, digests=True) is None
    manifest, files = read_manifest(os.path.join(release_path(root, app, now.current), MANIFEST)) if now.current and sound else ({}, {})
    return {
        "name": app,
        "current": now.current,
        "previous": now.previous,
        "whole": sound,
        "releases": sorted(name for name in os.listdir(folder) if DIGEST.fullmatch(name)) if os.path.isdir(folder) else [],
        "bytes": sum(size for _, size in files.values()),
        "target": manifest.get("target"),
        "state": now.state,
        "since": now.entry.get("time") or None,
        "why": now.entry.get("why"),
        "by": now.entry.get("by"),
        "next": _next(root, app, now),
        **trust.describe(root, app, now.current),
    }
