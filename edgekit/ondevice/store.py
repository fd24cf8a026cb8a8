"""The deployment store: blobs named by their digest, and releases made of them.

Job `store.stage`. Blobs come by `transfer`; their sizes and digests are checked there, and here again when a release is made of them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import PurePosixPath
from typing import Any, Dict, Tuple

from . import journal, trust
from .disk import blob_path, fsync_path, locked, make_folder, regular_bytes, sha256_file
from .wire import DIGEST, NAME, PATH, AgentError, Progress, integer, matching, strict_json

Files = Dict[str, Tuple[str, int]]  # path -> digest and size

MANIFEST, BUNDLE_SCHEMA, HOOKS = "manifest.json", "edgekit.bundle/1", "hooks"
MANIFEST_MAX_BYTES, BLOB_MAX_BYTES, FILES_MAX = 4 << 20, 1 << 40, 1000


def check_blob(root: str, digest: str, size: int | None, what: str) -> str:
    """Return the path of a blob that is here and sound; a damaged one is deleted, so that it is asked for again."""
    blob = blob_path(root, digest)
    have = regular_bytes(blob)
    if have is None:
        raise AgentError("state", "%s is not here: blob %s" % (what, digest))
    if (size is not None and have != size) or sha256_file(blob) != digest:
        os.unlink(blob)
        raise AgentError("mismatch", "the stored bytes of %s are damaged and now deleted" % what)
    return blob


def file_list(value: object) -> Files:
    """Return a ``files`` list whose paths are plain, unique and do not run through each other."""
    if not isinstance(value, list) or not 1 <= len(value) <= FILES_MAX or not all(isinstance(entry, dict) for entry in value):
        raise AgentError("usage", "files must be a list of 1 to %d tables" % FILES_MAX)
    files: Files = {}
    for entry in value:
        path = matching(entry.get("path"), PATH, "a file's path")
        if path in files:
            raise AgentError("usage", "files: %s stands twice" % path)
        files[path] = (matching(entry.get("sha256"), DIGEST, "%s: sha256" % path), integer(entry, "bytes", 0, BLOB_MAX_BYTES))
    for path in files:
        if any(str(folder) in files for folder in PurePosixPath(path).parents):
            raise AgentError("usage", "files: %s runs through a file" % path)
    return files


def release_path(root: str, app: str, release: str) -> str:
    """Return a release's folder."""
    return os.path.join(root, "apps", app, "releases", release)


def read_manifest(path: str) -> tuple[dict[str, Any], Files]:
    """Return a manifest and its files, checked; the jobs that use other keys check those."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        data = file.read(MANIFEST_MAX_BYTES + 1)
    try:
        manifest = strict_json(data, "it", MANIFEST_MAX_BYTES)
        if not isinstance(manifest, dict) or manifest.get("schema") != BUNDLE_SCHEMA:
            raise AgentError("input", "it is not of schema %s" % BUNDLE_SCHEMA)
        return manifest, file_list(manifest.get("files"))
    except AgentError as error:
        raise AgentError("input", "the manifest: %s" % error) from error


def whole(root: str, app: str, release: str, digests: bool) -> str | None:
    """Return what is wrong with a staged release, or None: every file there with its size and, if asked, its digest."""
    folder = release_path(root, app, release)
    if not regular_bytes(os.path.join(folder, MANIFEST)):
        return "it is not staged" if not os.path.isdir(folder) else "it has no manifest"
    if digests and sha256_file(os.path.join(folder, MANIFEST)) != release:
        return "its manifest is damaged"
    try:
        files = read_manifest(os.path.join(folder, MANIFEST))[1]
    except AgentError as error:
        return error.message
    for path, (digest, size) in sorted(files.items()):
        have = regular_bytes(os.path.join(folder, path))
        if have != size:
            return "%s is missing" % path if have is None else "%s has %d of %d bytes" % (path, have, size)
        if digests and sha256_file(os.path.join(folder, path)) != digest:
            return "%s is damaged" % path
    return None


def stage(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Make a release folder out of blobs, whole or not at all; a whole one that is there already stays, and takes a newer signature."""
    app, release = matching(job.get("app"), NAME, "app"), matching(job.get("release"), DIGEST, "release")
    files = file_list(job.get("files"))
    if files.get(MANIFEST, ("", 0))[0] != release:
        raise AgentError("mismatch", "the release's name is not the digest of its %s" % MANIFEST)
    releases, signed = os.path.dirname(release_path(root, app, release)), trust.pair_of(job)
    with locked(root):
        trust.check(root, app, release, signed)
        for name in os.listdir(releases) if os.path.isdir(releases) else ():
            if name.startswith(".stage-"):  # a power cut left it
                shutil.rmtree(os.path.join(releases, name), ignore_errors=True)
        staged = whole(root, app, release, digests=True) is not None
        if staged:
            for done, (path, (digest, size)) in enumerate(sorted(files.items())):
                progress("stage", done, len(files))
                check_blob(root, digest, size, path)
            if {MANIFEST: files[MANIFEST], **read_manifest(blob_path(root, release))[1]} != files:
                raise AgentError("mismatch", "the manifest lists other files than the job")
            _assemble(root, release_path(root, app, release), files)
        trust.keep(release_path(root, app, release), signed)
        if job.get("deployment") is not None:
            journal.note(root, app, "staged", release, deployment=matching(job["deployment"], journal.DEPLOYMENT, "deployment"))
    return {"app": app, "release": release, "staged": staged}


def _assemble(root: str, final: str, files: Files) -> None:
    releases = make_folder(os.path.dirname(final))
    temporary = tempfile.mkdtemp(dir=releases, prefix=".stage-")
    try:
        for path, (digest, _) in sorted(files.items()):
            copy = os.path.join(temporary, path)
            os.makedirs(os.path.dirname(copy), mode=0o700, exist_ok=True)
            try:
                os.link(blob_path(root, digest), copy, follow_symlinks=False)
            except OSError:  # no hard links here, or all are given out
                shutil.copyfile(blob_path(root, digest), copy)
                fsync_path(copy)
            if path.startswith(HOOKS + "/"):
                os.chmod(copy, 0o555)
                fsync_path(copy)
        mended = os.path.isdir(final)  # damaged, and perhaps what `current` names: it stays, its files are swapped
        for path in sorted(files) if mended else ():
            os.makedirs(os.path.dirname(os.path.join(final, path)), mode=0o700, exist_ok=True)
            os.replace(os.path.join(temporary, path), os.path.join(final, path))
        for folder, _, _ in os.walk(final if mended else temporary, topdown=False):
            fsync_path(folder)
        if not mended:
            os.rename(temporary, final)
        fsync_path(releases)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
