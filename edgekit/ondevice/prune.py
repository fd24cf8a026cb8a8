"""What nobody needs any more: releases beyond those to keep, the blobs that were theirs alone. Used by `deploy.commit`."""

from __future__ import annotations

import os
import shutil

from . import journal
from .disk import blob_path, fsync_path, held
from .releases import read_link
from .store import MANIFEST, read_manifest, release_path
from .wire import DIGEST, NAME, AgentError

__all__ = ["prune"]

GOING = ".prune-"


def prune(root: str, app: str, keep: int) -> list[str]:
    """Remove an app's releases beyond the ``keep`` last ones that were heard of; the caller holds the root `locked`.

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
    gone = [name for name in present if name not in stay and not held(os.path.join(folder, name))]
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
        for path in (blob_path(root, digest), os.path.join(root, "chunks", digest)):
            if os.path.lexists(path):
                os.unlink(path)
    shutil.rmtree(folder, ignore_errors=True)
