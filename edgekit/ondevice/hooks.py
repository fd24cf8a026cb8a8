"""A release's commands on the board: restart the application, say whether it is well. Used by `prove` and `recover`.

A hook runs in its release's folder, without a shell, as the leader of a process group that is killed when its time is up. What it says goes
to ``apps/NAME/hook.log``; what it leaves running goes on, and should write elsewhere. One hook of an app runs at a time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import Any, NamedTuple

from .disk import claim
from .journal import app_path
from .store import HOOKS, MANIFEST, read_manifest, release_path
from .wire import PATH, AgentError, Progress, number

__all__ = ["Health", "Hook", "health_of", "run"]

LOG, LOCK = "hook.log", ".hook"
WORDS_MAX, WORD_MAX, TIMEOUT_MAX_S = 64, 4096, 3600.0
POLL_S, TOLD_S = 0.02, 2.0
TAIL_BYTES = 600


class Hook(NamedTuple):
    """A command and how long it may take."""

    words: list[str]
    timeout_s: float


class Health(NamedTuple):
    """What a release's manifest asks of it once it is current; the host's side is ``edgekit.health``."""

    latency_p99_ms: float | None
    restart: Hook | None
    check: Hook | None


def health_of(root: str, app: str, release: str) -> Health:
    """Read it from a release that is there."""
    manifest, files = read_manifest(os.path.join(release_path(root, app, release), MANIFEST))
    health = manifest.get("health", {})
    if not isinstance(health, dict):
        raise AgentError("input", "the manifest's health must be a table")
    ceiling = health.get("latency_p99_ms")
    ceiling = None if ceiling is None else number(health, "latency_p99_ms", 0, 1e9, 0)
    return Health(ceiling, *(_hook(health.get(name), name, files) for name in ("restart", "check")))


def _hook(value: object, name: str, files: Any) -> Hook | None:
    if value is None:
        return None
    table = value if isinstance(value, dict) else {}
    words = table.get("command")
    words = list(words) if isinstance(words, list) and len(words) <= WORDS_MAX else []
    if not words or not all(isinstance(word, str) and 0 < len(word) <= WORD_MAX and "\0" not in word for word in words):
        raise AgentError("input", "the manifest's hook %s must be a list of words" % name)
    if words[0].startswith("./"):
        words[0] = HOOKS + words[0][1:]
        if not PATH.fullmatch(words[0]) or words[0] not in files:
            raise AgentError("input", "the manifest's hook %s runs %.100r, which is not among its files" % (name, words[0]))
    return Hook(words, number(table, "timeout_s", 0, TIMEOUT_MAX_S, 60.0))


def run(root: str, app: str, release: str, hook: Hook, stage: str, seconds: float, progress: Progress) -> str | None:
    """Run a hook for at most ``seconds``; return what went wrong, or None."""
    folder, seconds = release_path(root, app, release), min(seconds, hook.timeout_s)
    shown, end = " ".join(hook.words)[:200], time.monotonic() + seconds
    words = [os.path.join(folder, hook.words[0]) if hook.words[0].startswith(HOOKS + "/") else hook.words[0], *hook.words[1:]]
    lock = _wait_for_lock(app_path(root, app, LOCK), end)
    if lock is None:
        return "%s (%s) found another hook of the application still at work after %g s" % (stage, shown, seconds)
    try:
        _end_orphan(lock)
        with open(app_path(root, app, LOG), "ab") as log:
            start = log.seek(0, os.SEEK_END)
            try:
                process = subprocess.Popen(
                    words, cwd=folder, env=_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            except OSError as error:
                return "%s (%s) cannot be run: %s" % (stage, shown, error)
            _write(lock, b"%d %s" % (process.pid, _started(process.pid)))
            code = _wait(process, end, seconds, stage, progress)
            _write(lock, b"")
            if code is None:
                return "%s (%s) did not end within %g s%s" % (stage, shown, seconds, _tail(log.name, start))
            how = "was killed by signal %d" % -code if code < 0 else "ended with status %d" % code
            return "%s (%s) %s%s" % (stage, shown, how, _tail(log.name, start)) if code else None
    finally:
        os.close(lock)


def _wait_for_lock(path: str, end: float) -> int | None:
    while True:
        lock = claim(path)
        if lock is not None or time.monotonic() >= end:
            return lock
        time.sleep(POLL_S)


def _write(lock: int, text: bytes) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, text, 0)


def _started(pid: int) -> bytes:
    """Return when a process was started, in ticks since boot (proc(5), starttime), so that its number tells nobody else; b"" for none."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return file.read().rpartition(b")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _end_orphan(lock: int) -> None:
    """End a hook whose agent was killed: it must not undo what the next one does."""
    pid, _, started = os.pread(lock, 64, 0).partition(b" ")
    if pid.isdigit() and started and _started(int(pid)) == started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(pid), signal.SIGKILL)


def _wait(process: subprocess.Popen[bytes], end: float, seconds: float, stage: str, progress: Progress) -> int | None:
    """Return the status, or None for a hook that was killed with its group; a job that is told to stop leaves none behind."""
    told = time.monotonic()
    try:
        while process.poll() is None and time.monotonic() < end:
            time.sleep(POLL_S)
            if time.monotonic() - told > TOLD_S:
                told = time.monotonic()
                progress(stage, max(0, int(seconds - (end - told))), int(seconds) + 1)
        return process.returncode
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _tail(path: str, start: int) -> str:
    with open(path, "rb") as file:
        file.seek(max(start, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        said = " | ".join(file.read(TAIL_BYTES).decode("utf-8", "replace").strip().splitlines()[-3:])
    return ": " + said if said else ""


def _environment() -> dict[str, str]:
    """At boot nobody is logged in: ``systemctl --user`` still finds the user's manager by this (systemd-logind, pam_systemd(8))."""
    runtime = "/run/user/%d" % os.geteuid()
    return {**({"XDG_RUNTIME_DIR": runtime} if os.path.isdir(runtime) else {}), **os.environ}
