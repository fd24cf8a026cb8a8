"""The watchdog: job `deploy.watch`, a process of its own that outlives the link and goes back when its deployment is not proven in time.

It is started before the switch, holds ``apps/NAME/.watch``, in which it writes its deployment, and ends when that is decided. Its time is
the board's since boot. A board that starts anew has no watchdog; then `recover.settle` goes back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from typing import Any

from .clock import boottime_s
from .disk import claim, locked
from .journal import DEPLOYMENT, app_path, entries
from .recover import go_back
from .releases import SETTLED, WATCH, standing, watched
from .wire import NAME, AgentError, Progress, encode_job, matching, number

__all__ = ["see_off", "start", "watch"]

REQUEST, LOG = ".watch.json", "watch.log"
DECIDED = ("proven", "committed", "rolled-back", "inconsistent")
# A Python from a slow card, asked for by a manager that is busy.
START_TIMEOUT_S, SYSTEMD_TIMEOUT_S = 30.0, 10.0
POLL_S, PERIOD_S, AGAIN_S = 0.02, 0.5, 5.0


def see_off(root: str, app: str) -> None:
    """Give the watchdog of a switch that never came the time to see that it will not: for that it needs the root, which nobody may hold."""
    end = time.monotonic() + AGAIN_S
    while standing(root, app).state in SETTLED and watched(root, app) and time.monotonic() < end:
        time.sleep(POLL_S)


def start(root: str, app: str, deployment: str, deadline: float) -> None:
    """Start the watchdog of a deployment and wait until it holds its lock. The caller holds the root `locked`, and nobody watches."""
    last = _claim_patiently(root, app)  # that of the last deployment needs a moment to see that it is decided
    os.close(last)
    request = app_path(root, app, REQUEST)
    with open(os.open(request, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(encode_job("deploy.watch", root, {"app": app, "deployment": deployment, "deadline": deadline}))
    unit = "edgekit-watch-%s-%s" % (app, deployment)
    if not (_by_systemd(unit, request) and _holds(root, app, deployment, SYSTEMD_TIMEOUT_S)):
        _by_itself(request, app_path(root, app, LOG))
        if not _holds(root, app, deployment, START_TIMEOUT_S):
            raise AgentError("state", "the watchdog of %s did not start; %s may say why" % (app, app_path(root, app, LOG)))


def _by_systemd(unit: str, request: str) -> bool:
    """Let the user's manager run it, where there is one: a login may take with it what it started (logind.conf(5), KillUserProcesses)."""
    program = shutil.which("systemd-run")
    if program is None:
        return False
    words = [program, "--user", "--collect", "--quiet", "--unit=" + unit, "--property=StandardInput=file:" + request]
    try:
        done = subprocess.run(
            [*words, sys.executable, sys.argv[0]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SYSTEMD_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _by_itself(request: str, log: str) -> None:
    """Start it in a session of its own: no end of a link reaches it."""
    with open(request, "rb") as job, open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as said:
        subprocess.Popen([sys.executable, sys.argv[0]], stdin=job, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True)


def _claim_patiently(root: str, app: str) -> int:
    end = time.monotonic() + AGAIN_S
    while True:
        guard = claim(app_path(root, app, WATCH))
        if guard is not None:
            return guard
        if time.monotonic() >= end:
            raise AgentError("busy", "somebody watches over %s already" % app)


def _holds(root: str, app: str, deployment: str, seconds: float) -> bool:
    """Wait until the watchdog of this deployment has written its name, and see that it is still there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with open(app_path(root, app, WATCH), "rb") as file:
            if file.read(len(deployment) + 1) == deployment.encode():
                return watched(root, app)
        time.sleep(POLL_S)
    return False


def watch(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Wait until a deployment is decided, and at its deadline decide it."""
    app, deployment = matching(job.get("app"), NAME, "app"), matching(job.get("deployment"), DEPLOYMENT, "deployment")
    deadline = number(job, "deadline", 0, 1 << 53, 0)
    guard = _claim_patiently(root, app)
    os.chdir("/")  # it may outlive the folder it was started in
    try:
        os.ftruncate(guard, 0)
        os.write(guard, deployment.encode())
        while _undecided(root, app, deployment):
            if standing(root, app).state == "going-back":  # by somebody else, who may be gone: then it is for us to finish
                deadline = min(deadline, boottime_s() + AGAIN_S)
            if boottime_s() < deadline:
                time.sleep(min(PERIOD_S, max(POLL_S, deadline - boottime_s())))
                continue
            try:
                go_back(root, app, deployment, "it was not proven in time", "watchdog", progress)
            except AgentError as error:
                if error.kind not in ("busy", "inconsistent"):
                    raise
                time.sleep(AGAIN_S / 2)  # what is inconsistent is decided, unless the disk could not take that: it may again
        return {"app": app, "state": standing(root, app).state}
    finally:
        os.close(guard)


def _undecided(root: str, app: str, deployment: str) -> bool:
    """Tell whether the deployment is still to be decided, or its switch still to come."""
    if not os.path.isdir(app_path(root, app)):
        return False
    # What is written is decided, whatever the links say: between our reading them and the journal a switch may have come.
    if any(entry["deployment"] == deployment and entry["event"] in DECIDED for entry in entries(root, app)):
        return False
    now = standing(root, app)
    if now.entry.get("deployment") == deployment and now.state in ("activated", "going-back"):
        return True
    # Whoever started us holds it until the switch is done, however it ends. We do not stand in line: the next deployment's start may hold
    # it, and waits for us to see that ours is decided.
    with contextlib.suppress(AgentError, OSError), locked(root, tries=1):
        now = standing(root, app)
        return now.entry.get("deployment") == deployment and now.state in ("activated", "going-back")
    return True
