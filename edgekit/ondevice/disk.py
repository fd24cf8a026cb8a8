"""Files that survive a power cut: their bytes, then the rename, then the folder's names. Used by every job under the root."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import time
from typing import Iterator

from .wire import AgentError

LOCK_TRIES, LOCK_PAUSE_S = 100, 0.1
CLAIM_TRIES, CLAIM_PAUSE_S = 10, 0.01


def blob_path(root: str, digest: str) -> str:
    """Return where the bytes of a digest stand."""
    return os.path.join(root, "blobs", "sha256", digest)


def make_folder(path: str) -> str:
    """Make a folder and its missing parents, private to the user, each name durable."""
    if not os.path.isdir(path):
        parent = make_folder(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        fsync_path(parent)
    return path


def free_bytes(path: str) -> int:
    """Return what a user without privileges may still write there, or where its nearest existing parent is."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return os.statvfs(path).f_bavail * os.statvfs(path).f_frsize


def regular_bytes(path: str) -> int | None:
    """Return the size of a regular file, no link followed; None when there is none."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def sha256_file(path: str) -> str:
    """Return a file's SHA-256 in hex, read in blocks; a link is refused."""
    digest = hashlib.sha256()
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def fsync_path(path: str) -> None:
    """Bring a file's bytes or a folder's names to the disk; a link to a folder serves, one to a file is refused."""
    handle = os.open(path, os.O_RDONLY | (os.O_DIRECTORY if os.path.isdir(path) else os.O_NOFOLLOW))
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(path: str, data: bytes) -> None:
    """Let a file hold ``data``, private to the user: the old bytes or the new ones at every instant, durable on return."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, ".%s.new" % name)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    fsync_path(folder)


def switch_link(link: str, target: str) -> None:
    """Let ``link`` point to ``target`` (relative to its folder): the old one or the new one at every instant, durable on return."""
    folder, name = os.path.split(link)
    if os.path.isdir(link) and not os.path.islink(link):
        raise AgentError("state", "%s is a folder and must be a link" % link, "move that folder away")
    temporary = os.path.join(folder, ".%s.new" % name)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, link)
    fsync_path(folder)


def hold(folder: str) -> int:
    """Tell others that a folder (a release, a runtime) is in use: a shared lock, until the process ends or closes what is returned."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


def held(folder: str) -> bool:
    """Tell whether anybody holds a folder; who then removes it does so under `locked`."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def claim(path: str) -> int | None:
    """Lock a file, which is made if need be; None when somebody else has it. What is returned, open, is the lock.

    It looks more than once: who only asks whether a file is locked holds it for an instant.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    for _ in range(CLAIM_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        time.sleep(CLAIM_PAUSE_S)
    os.close(handle)
    return None


@contextlib.contextmanager
def locked(root: str, tries: int = LOCK_TRIES) -> Iterator[None]:
    """Hold the root for a job that changes it, or refuse after a while; the kernel lets go when the process ends, however it ends."""
    with open(os.open(os.path.join(make_folder(root), "lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "rb") as handle:
        for _ in range(tries):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(LOCK_PAUSE_S)
        else:
            raise AgentError("busy", "another edgekit agent is changing %s" % root)
        yield
