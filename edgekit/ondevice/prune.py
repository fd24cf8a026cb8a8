"""What nobody needs any more: releases beyond those to keep, their blobs, engines, parts nobody goes on with, agents nobody runs.

Used by `deploy.commit` and `store.restore`. The caller holds the root `locked`.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import sys
import time

from . import boot, journal
from .chunks import forget
from .disk import blob_path, fsync_path, held
from .library import LIBRARY
from .releases import read_link
from .store import MANIFEST, read_manifest, release_path
from .tensorrt import engines
from .wire import DIGEST, NAME, AgentError

__all__ = ["drop", "prune"]

GOING = ".prune-"
# A transfer that has not gone on for so long, by the card's own times, begins anew; an engine of no release stays as long for the next one.
STALE_S = 7 * 86400.0
AGENT = re.compile(r"agent-[0-9a-f]{12}\.pyz")


def prune(root: str, app: str, keep: int) -> list[str]:
    """Remove an app's releases beyond the ``keep`` last ones that were heard of, and what is left over; return the releases.

    Never the current one, the previous one, or one that is in use.
    """
    folder = os.path.dirname(release_path(root, app, ""))
    heard = [entry["release"] for entry in journal.entries(root, app)]
    order = {release: place for place, release in enumerate(heard)}
    present = sorted((name for name in os.listdir(folder) if DIGEST.fullmatch(name)), key=lambda name: order.get(name, -1), reverse=True)
    stay = {read_link(root, app, "current"), read_link(root, app, "previous")}
    for name in present:
        if len(stay - {None}) < keep:
            stay.add(name)
    gone = _take_away(root, folder, [name for name in present if name not in stay])
    if os.path.isdir(os.path.join(root, "engines")):
        _remove_engines(root, _needed(root))
    _remove_parts(os.path.join(root, "incoming"))
    _remove_agents(root)
    return gone


def drop(root: str, app: str, release: str) -> bool:
    """Remove one release of an app, unless a link names it or somebody uses it; tell whether it went."""
    if release in (read_link(root, app, "current"), read_link(root, app, "previous")) or not os.path.isdir(
        release_path(root, app, release)
    ):
        return False
    return bool(_take_away(root, os.path.dirname(release_path(root, app, release)), [release]))


def _take_away(root: str, folder: str, names: list[str]) -> list[str]:
    """Remove releases that nobody uses, and what an earlier call has not finished; return those that went."""
    gone = [name for name in names if not held(os.path.join(folder, name))]
    for name in gone:
        os.rename(os.path.join(folder, name), os.path.join(folder, GOING + name))
    if gone:
        fsync_path(folder)
    left = [name for name in os.listdir(folder) if name.startswith(GOING)]
    if left:
        needed = _needed(root)
        for name in left:
            _remove(root, os.path.join(folder, name), needed)
    return gone


def _needed(root: str) -> set[str]:
    """Return the blobs that any release of any app is made of."""
    needed: set[str] = set()
    apps = os.path.join(root, "apps")
    for app in os.listdir(apps):
        releases = os.path.join(apps, app, "releases")
        for name in os.listdir(releases) if NAME.fullmatch(app) and os.path.isdir(releases) else ():
            if DIGEST.fullmatch(name):
                needed |= _blobs(os.path.join(releases, name), name)
    return needed


def _blobs(folder: str, release: str) -> set[str]:
    try:
        return {release, *(digest for digest, _ in read_manifest(os.path.join(folder, MANIFEST))[1].values())}
    except (AgentError, OSError):  # damaged: what it was made of stays for good
        return set()


def _remove(root: str, folder: str, needed: set[str]) -> None:
    """Remove what a power cut lets us find again first: the blobs, then the folder that names them."""
    for digest in _blobs(folder, os.path.basename(folder)[len(GOING) :]) - needed:
        forget(root, digest)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(blob_path(root, digest))
    shutil.rmtree(folder, ignore_errors=True)


def _remove_engines(root: str, needed: set[str]) -> None:
    """Remove the engines of networks that are in no release, and what failed builds left. One half removed is not whole, and built anew."""
    for name in os.listdir(os.path.join(root, "engines")):
        digest, _, kind = name.partition(".")
        path = os.path.join(root, "engines", name)
        if not DIGEST.fullmatch(digest) or kind not in ("", "work"):
            continue
        account = None if kind else engines.read_json(os.path.join(path, engines.ACCOUNT))
        key = account.get("key") if account else None
        lock = None if isinstance(key, dict) and key.get("onnx_sha256") in needed else engines.take(root, digest)
        if lock is not None:  # nobody builds it just now, or gives its work its final name
            if os.path.isdir(path) and os.lstat(path).st_mtime < time.time() - STALE_S:
                shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _remove_parts(folder: str) -> None:
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        with contextlib.suppress(FileNotFoundError):  # a transfer has just finished it
            if name.endswith(".part") and os.lstat(os.path.join(folder, name)).st_mtime < time.time() - STALE_S:
                os.unlink(os.path.join(folder, name))


def _remove_agents(root: str) -> None:
    """Remove the agents of other edgekits that no process runs, the boot script does not start, and neither a unit nor ``lib`` names."""
    folder = os.path.join(root, "agent")
    found = {name for name in (os.listdir(folder) if os.path.isdir(folder) else ()) if AGENT.fullmatch(name)}
    named = [os.path.join(root, boot.SCRIPT), *glob.glob(os.path.join(glob.escape(boot.units_folder()), "edgekit-*"))]
    for path in [*named, *glob.glob("/proc/[0-9]*/cmdline")]:
        with contextlib.suppress(OSError), open(path, "rb") as file:
            text = file.read(1 << 16)
            found -= {name for name in found if name.encode("ascii") in text}
    library = os.path.realpath(os.path.join(root, LIBRARY))
    for name in found - {os.path.basename(sys.argv[0]), os.path.basename(library)}:
        if os.lstat(os.path.join(folder, name)).st_mtime < time.time() - STALE_S:  # another host may be about to start it
            os.unlink(os.path.join(folder, name))
