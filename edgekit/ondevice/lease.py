"""Who has the board: one holder with a reason and an end, so that two engineers or CI jobs never collide.

Jobs `lease.take`, `lease.release`, `lease.show`. The agent runs every job that changes or measures the board under `guarded`: it holds
``lease.lock`` shared for as long as it runs, and who takes a lease must have that alone. So a lease never begins under a running job, and
one whose time is up does not end before its holder's job does. This keeps out nobody who means harm: it is an agreement among edgekits.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import time
from typing import Any, Dict, Iterator

from .clock import boot_id, boottime_s
from .disk import LOCK_PAUSE_S, LOCK_TRIES, fsync_path, make_folder
from .wire import AgentError, Progress, matching, number, strict_json

Lease = Dict[str, Any]

LEASE, LOCK, LOG = "lease.json", "lease.lock", "lease.log"
TOKEN = re.compile(r"[0-9a-f]{32}")
WORDS = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
MAX_BYTES, LOG_BYTES = 4096, 1 << 16
TTL_MAX_S = 7 * 86400.0
# A clock that says less has not been set since it was switched on (boards without a battery begin in 1970 or at their image's date).
SET_CLOCK_S = 1_704_067_200.0  # 2024-01-01


def left_s(lease: Lease, boot: str, uptime_s: float, wall_s: float) -> float:
    """Return how long a lease still lasts; at most its whole time, whatever the clocks say.

    In the boot it was written in, the time since boot decides. After another one at least that boot's time has passed, and what the wall
    clock shows, where it was set at both ends and did not go backwards.
    """
    if lease["boot"] == boot:
        passed = uptime_s - lease["uptime_s"]
    else:
        clocks_set = min(lease["wall_s"], wall_s) >= SET_CLOCK_S
        passed = max(uptime_s, wall_s - lease["wall_s"] if clocks_set else 0.0)
    return float(lease["ttl_s"] - max(0.0, passed))


def read(root: str) -> Lease | None:
    """Return what ``lease.json`` says; what is no lease is none."""
    try:
        with open(os.open(os.path.join(root, LEASE), os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            lease = strict_json(file.read(MAX_BYTES + 1), "the lease", MAX_BYTES)
        for key, pattern in (("token", TOKEN), ("owner", WORDS), ("reason", WORDS), ("boot", WORDS)):
            matching(lease[key], pattern, key)
        for key in ("ttl_s", "uptime_s", "wall_s"):
            number(lease, key, 0, 1e11, -1)
        return {**lease, "renews": lease["renews"] is True}
    except (OSError, AgentError, KeyError, TypeError):
        return None


def _left_s(lease: Lease) -> float:
    return left_s(lease, boot_id(), boottime_s(), time.time())


def _write(root: str, lease: Lease) -> None:
    """Write a lease whose time begins now; durable."""
    path = os.path.join(root, LEASE)
    temporary = "%s.%d" % (path, os.getpid())
    full = {**lease, "boot": boot_id(), "uptime_s": boottime_s(), "wall_s": time.time()}
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(json.dumps(full).encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    fsync_path(root)


def _forget(root: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(root, LEASE))
        fsync_path(root)


def _busy(lease: Lease) -> AgentError:
    left = _left_s(lease)
    how_long = "for %d more s" % (left + 1) if left > 0 else "its time is up, its job still runs"
    return AgentError("busy", "%s holds the board: %s (%s)" % (lease["owner"], lease["reason"], how_long))


def _wait(handle: int, kind: int) -> bool:
    for _ in range(LOCK_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return True
        time.sleep(LOCK_PAUSE_S)
    return False


def _open_lock(root: str) -> int:
    return os.open(os.path.join(make_folder(root), LOCK), os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def take(job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Take the board, or begin the time of one's own lease anew. With ``renews`` each job of the holder does the latter, too."""
    token, ttl_s = matching(job.get("token"), TOKEN, "token"), number(job, "ttl_s", 1, TTL_MAX_S, -1)
    lease = {"token": token, "ttl_s": ttl_s, "renews": job.get("renews") is True}
    lease.update((key, matching(job.get(key), WORDS, key)) for key in ("owner", "reason"))
    handle = _open_lock(root)
    try:
        held = read(root)
        if held is None or held["token"] != token:
            if held and _left_s(held) > 0:
                raise _busy(held)
            if not _wait(handle, fcntl.LOCK_EX):
                raise _busy(held) if held else AgentError("busy", "another edgekit job is at work on the board")
            held = read(root)  # somebody may have been quicker
            if held and held["token"] != token and _left_s(held) > 0:
                raise _busy(held)
        try:
            _write(root, lease)
        except OSError:  # one's own goes on as it is: a disk that takes nothing keeps no board from going back
            if held is None or held["token"] != token:
                raise
    finally:
        os.close(handle)
    return show(job, root, _progress)


def release(job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Give the board back; somebody else's lease only with ``force``, which is recorded. Where there is none, yes again."""
    token, force = matching(job.get("token"), TOKEN, "token"), job.get("force") is True
    held = read(root)
    if held and held["token"] != token:
        if _left_s(held) > 0 and not force:
            raise _busy(held)
        if force:
            by = matching(job.get("owner"), WORDS, "owner")
            _record(root, {"event": "forced", "owner": held["owner"], "reason": held["reason"], "by": by})
            _forget(root)
    elif held:
        handle = _open_lock(root)
        try:
            if not _wait(handle, fcntl.LOCK_EX):
                raise AgentError("busy", "one of its own jobs is still at work on the board")
            held = read(root)
            if held and held["token"] == token:
                _forget(root)
        finally:
            os.close(handle)
    return show(job, root, _progress)


def show(_job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Say who holds the board and who was last put out of it; changes nothing, and keeps the token to itself."""
    held = read(root)
    lease = None
    if held and _left_s(held) > 0:
        lease = {"owner": held["owner"], "reason": held["reason"], "left_s": _left_s(held)}
    return {"lease": lease, "forced": _last(root)}


def _record(root: str, entry: dict[str, Any]) -> None:
    path = os.path.join(root, LOG)
    line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **entry}).encode("ascii")
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "r+b") as file:
        if file.seek(0, os.SEEK_END) > LOG_BYTES:
            file.truncate(0)
        file.write(b"\n" + line)
        file.flush()
        os.fsync(file.fileno())


def _last(root: str) -> dict[str, Any] | None:
    try:
        with open(os.open(os.path.join(root, LOG), os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - MAX_BYTES))
            entry = strict_json(file.read(MAX_BYTES).rpartition(b"\n")[2], "it", MAX_BYTES)
        return {key: str(entry[key])[:200] for key in ("time", "owner", "reason", "by")}
    except (OSError, AgentError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def guarded(job: dict[str, Any], root: str) -> Iterator[None]:
    """Run a job that changes or measures the board, if nobody else holds it."""
    try:
        handle = _open_lock(root)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        yield  # nobody has ever taken a lease here, nor can
        return
    try:
        if not _wait(handle, fcntl.LOCK_SH):
            raise AgentError("busy", "somebody is just taking the board")
        _check(job, root, handle)
        yield
        _renew(job, root)
    finally:
        os.close(handle)


def _check(job: dict[str, Any], root: str, handle: int) -> None:
    lease = read(root)
    if job.get("lease") is not None:
        if lease is None or lease["token"] != matching(job["lease"], TOKEN, "lease"):
            who = "%s holds the board now: %s" % (lease["owner"], lease["reason"]) if lease else "nobody holds the board"
            raise AgentError("busy", "the lease was lost; %s" % who)
        _renew(job, root)
    elif lease:
        if _left_s(lease) > 0:
            raise _busy(lease)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(lease) from None
        _forget(root)
        # From exclusive to shared is no single step (flock(2)): somebody may have taken the board in between.
        if not _wait(handle, fcntl.LOCK_SH) or read(root):
            raise AgentError("busy", "somebody is just taking the board")


def _renew(job: dict[str, Any], root: str) -> None:
    lease = read(root)
    if lease and lease["renews"] and lease["token"] == job.get("lease") and _left_s(lease) < lease["ttl_s"] * 2 / 3:
        with contextlib.suppress(OSError):  # then it ends sooner; a disk that takes nothing keeps no board from going back
            _write(root, lease)
