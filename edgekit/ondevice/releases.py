"""Which release an app runs: switch, go back, say how things stand. Jobs `store.activate`, `store.rollback`, `store.status`.

``current`` and ``previous`` are links to ``releases/<digest>``. A switch writes into the journal what it is about to do, swaps ``current``,
sets ``previous``, writes that it is done; each step is durable before the next. The next job finishes a switch broken off after the swap.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from typing import Any

from .disk import free_bytes, fsync_path, locked, switch_link
from .store import MANIFEST, read_manifest, release_path, whole
from .wire import DIGEST, NAME, AgentError, Progress, matching

TAIL_BYTES = 1 << 16
LINK = re.compile(r"releases/([0-9a-f]{64})")
DONE = ("activated", "rolled-back")


def read_link(root: str, app: str, name: str) -> str | None:
    """Return the release that ``current`` or ``previous`` names; a link to anywhere else counts as none."""
    try:
        found = LINK.fullmatch(os.readlink(os.path.join(root, "apps", app, name)))
    except OSError:
        return None
    return found.group(1) if found else None


def activate(job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Switch an app to a staged release; asked again, it says yes again."""
    app, release = matching(job.get("app"), NAME, "app"), matching(job.get("release"), DIGEST, "release")
    with locked(root):
        wrong = whole(root, app, release, digests=False)
        if wrong:
            raise AgentError("state", "release %.12s of %s cannot be activated: %s" % (release, app, wrong), "stage it again")
        current, previous = _standing(root, app, True)
        if current != release:
            if current and whole(root, app, current, digests=False) is None:
                previous = current  # a damaged release is nothing to go back to: then what was previous stays
            _switch(root, app, release, None if previous == release else previous, "activated")
        return {"app": app, "release": release, "previous": _standing(root, app, False)[1], "changed": current != release}


def rollback(job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Switch an app back to what it ran before, after every digest of that was verified."""
    app = matching(job.get("app"), NAME, "app")
    with locked(root):
        current, previous = _standing(root, app, True)
        if previous is None or previous == current:
            raise AgentError("state", "%s has no earlier release to go back to" % app)
        wrong = whole(root, app, previous, digests=True)
        if wrong:
            raise AgentError("state", "%s cannot go back to release %.12s: %s" % (app, previous, wrong), "deploy that release again")
        _switch(root, app, previous, current, "rolled-back")
        return {"app": app, "release": previous, "previous": current, "changed": True}


def _standing(root: str, app: str, settle: bool) -> tuple[str | None, str | None]:
    """Return current and previous; a switch counts, and is completed if asked for, once its ``current`` has moved."""
    lines, current, previous = _journal(root, app), read_link(root, app, "current"), read_link(root, app, "previous")
    if lines and lines[-1]["event"] == "switching" and current == lines[-1]["release"]:
        previous = lines[-1]["previous"] or previous
        if settle:
            _complete(root, app, lines[-1])
    return current, previous


def _switch(root: str, app: str, release: str, previous: str | None, event: str) -> None:
    intent = {"event": "switching", "release": release, "previous": previous, "becomes": event}
    _write(root, app, intent)
    switch_link(os.path.join(root, "apps", app, "current"), "releases/" + release)
    _complete(root, app, intent)


def _complete(root: str, app: str, intent: dict[str, Any]) -> None:
    with contextlib.suppress(OSError, AgentError):  # the release runs; a full disk, say, leaves the rest to the next job
        if intent["previous"]:
            switch_link(os.path.join(root, "apps", app, "previous"), "releases/" + intent["previous"])
        _write(root, app, {"event": intent["becomes"], "release": intent["release"], "previous": intent["previous"]})


def _write(root: str, app: str, entry: dict[str, Any]) -> None:
    folder = os.path.join(root, "apps", app)
    line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **entry}).encode("ascii")
    with open(os.open(os.path.join(folder, "journal"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "ab") as file:
        file.write(b"\n" + line)  # begins a line of its own, whatever a power cut left of the one before
        file.flush()
        os.fsync(file.fileno())
    fsync_path(folder)


def _journal(root: str, app: str) -> list[dict[str, Any]]:
    """Return the last entries; a line torn by a power cut is passed over."""
    try:
        with open(os.path.join(root, "apps", app, "journal"), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).split(b"\n")
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            entry = json.loads(line.decode("ascii"))
            sound = DIGEST.fullmatch(entry["release"]) and (entry["previous"] is None or DIGEST.fullmatch(entry["previous"]))
            if sound and (entry["becomes"] if entry["event"] == "switching" else entry["event"]) in DONE:
                entries.append(entry)
    return entries


def status(job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Describe one app, or all of them; changes nothing. ``bytes`` is the size of the current release."""
    apps = os.path.join(root, "apps")
    wanted = None if job.get("app") is None else matching(job["app"], NAME, "app")
    names = sorted(name for name in os.listdir(apps) if NAME.fullmatch(name)) if os.path.isdir(apps) else []
    return {"apps": [_describe(root, name) for name in names if wanted in (None, name)], "free_bytes": free_bytes(root)}


def _describe(root: str, app: str) -> dict[str, Any]:
    (current, previous), folder = _standing(root, app, False), os.path.dirname(release_path(root, app, ""))
    done = [entry for entry in _journal(root, app) if entry["release"] == current]
    sound = current is not None and whole(root, app, current, digests=True) is None
    manifest, files = read_manifest(os.path.join(release_path(root, app, current), MANIFEST)) if current and sound else ({}, {})
    return {
        "name": app,
        "current": current,
        "previous": previous,
        "whole": sound,
        "releases": sorted(name for name in os.listdir(folder) if DIGEST.fullmatch(name)) if os.path.isdir(folder) else [],
        "bytes": sum(size for _, size in files.values()),
        "activated_at": done[-1].get("time") if done else None,
        "target": manifest.get("target"),
    }
