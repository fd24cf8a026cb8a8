"""Whether a release is well where it is to stay: job `deploy.prove`.

Golden samples, latency ceiling, restart hook, the service where there is one, check hook, in this order. The first two run in agents of
their own: a runtime that aborts, or never answers, is a proof that failed. What fails is taken back at once. The root is not held
meanwhile; the last word, ``proven``, is written only if nobody has taken the release back.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Any

from . import hooks, journal
from .clock import boottime_s
from .disk import locked
from .recover import FIX, go_back, settle_app, undone
from .releases import Standing, complete, named, standing
from .service import await_release
from .wire import LONG_EVENT_BYTES, MAX_EVENT_BYTES, AgentError, Progress, decode_event, encode_job, integer

__all__ = ["prove"]

# A release that was current before the deployment has no deadline of its own.
UNHURRIED_S = 3600.0
# It stops a gross mistake and is no measurement: two seconds let a board's clocks rise, and 130 runs leave one above the 99th percentile.
LATENCY = {"min_time_s": 2.0, "min_count": 130, "warmup_cap_s": 5.0}


def prove(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Prove the deployment, or take it back: an error of the kind ``undone``, or ``inconsistent`` where that failed."""
    (app, release, deployment), threads = named(job), integer(job, "threads", 1, 256, 1)
    now = standing(root, app)
    if now.state in ("proven", "committed") and now.entry["deployment"] == deployment:
        return {"app": app, "release": release, "proof": now.entry.get("proof", {})}
    settle_app(root, app, progress)
    now = standing(root, app)
    ours = now.state == "activated" and now.entry["deployment"] == deployment
    if not ours:
        _refuse(app, release, deployment, now)
    fields = {"app": app, "threads": threads, "lease": job.get("lease")}
    seconds = now.entry["deadline"] - boottime_s() if ours else UNHURRIED_S
    proof, why = _examine(root, app, release, fields, now, boottime_s() + seconds, progress)
    if why is None:
        try:
            with locked(root):
                after = standing(root, app)
                if after[:2] == now[:2] and after.entry.get("deployment") == now.entry.get("deployment"):
                    complete(root, app)
                    journal.note(root, app, "proven", release, after.previous, deployment=deployment, by="host", proof=proof)
                    return {"app": app, "release": release, "proof": proof}
            why = "it was taken back while it was being proved"
        except OSError as error:
            why = "its proof cannot be written down: %s" % error
    if not ours:
        _stays(app, release, now, why)
    after = go_back(root, app, deployment, why, "proof", progress)
    if after.state == "proven":  # by the same host, over another link
        return {"app": app, "release": release, "proof": after.entry.get("proof", {})}
    raise undone(app, release, after)


def _refuse(app: str, release: str, deployment: str, now: Standing) -> None:
    """Refuse to prove what is neither this deployment's nor was there before it."""
    if now.entry.get("deployment") == deployment and now.state == "inconsistent":
        raise AgentError("inconsistent", "%s runs %.12s: %s" % (app, now.current or "nothing", now.entry.get("why")), FIX)
    if now.entry.get("deployment") == deployment and now.state == "rolled-back":
        raise undone(app, release, now)
    if now.current != release or now.state in ("activated", "going-back"):
        raise AgentError("state", "release %.12s of %s cannot be proved: it is not current" % (release, app), "deploy it again")


def _stays(app: str, release: str, now: Standing, why: str) -> None:
    kind = "inconsistent" if now.state == "inconsistent" else "state"
    raise AgentError(kind, "%.12s of %s, which was current before and stays: %s" % (release, app, why), FIX)


def _examine(
    root: str, app: str, release: str, fields: dict[str, Any], now: Standing, end: float, progress: Progress
) -> tuple[dict[str, Any], str | None]:
    """Return what the proof found, and why it failed, or None."""
    golden: dict[str, Any] = {}
    try:
        health = hooks.health_of(root, app, release)
        golden = _child("golden", root, fields, end, progress)
        if golden.get("ok") is not True:
            text = "the golden samples differ by %s steps, %g are allowed" % (golden.get("max_diff"), golden.get("tolerance", 0))
            return {"golden": golden}, text
        proof: dict[str, Any] = {"golden": golden}
        if health.latency_p99_ms is not None:
            proof["latency_p99_ms"] = measured = _latency(root, fields, end, progress)
            if measured > health.latency_p99_ms:
                return proof, "99 of 100 runs took up to %.3g ms, %g are allowed" % (measured, health.latency_p99_ms)
    except AgentError as error:
        return {"golden": golden}, error.message
    # What was current and well before needs no restart: nothing has changed under it.
    restart = health.restart if now.state not in ("committed", "proven", "rolled-back") else None
    wrong = restart and _hook(root, app, release, restart, "restart", end, progress)
    try:
        served = None if wrong else await_release(root, app, release, end - boottime_s(), progress)
    except AgentError as error:
        return proof, error.message
    if served:
        proof["service_port"] = served
    if health.check and not wrong:
        wrong = _hook(root, app, release, health.check, "check", end, progress)
    return proof, wrong


def _hook(root: str, app: str, release: str, hook: hooks.Hook, stage: str, end: float, progress: Progress) -> str | None:
    left = end - boottime_s()
    return hooks.run(root, app, release, hook, stage, left, progress) if left > 0 else "no time was left for the hook %s" % stage


def _latency(root: str, fields: dict[str, Any], end: float, progress: Progress) -> float:
    series = sorted(_child("probe.latency", root, {**fields, **LATENCY}, end, progress)["invoke_ns"])
    return float(series[(99 * len(series) + 99) // 100 - 1]) / 1e6  # nearest rank


def _child(name: str, root: str, fields: dict[str, Any], end: float, progress: Progress) -> dict[str, Any]:
    """Run a job in an agent of its own, and end it when there is no time left."""
    process = subprocess.Popen([sys.executable, sys.argv[0]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    timer = threading.Timer(max(0.0, end - boottime_s()), os.killpg, (process.pid, signal.SIGKILL))
    timer.daemon = True
    timer.start()
    limit = LONG_EVENT_BYTES.get(name, MAX_EVENT_BYTES)
    try:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(encode_job(name, root, fields))
        stdin.flush()
        for line in iter(lambda: stdout.readline(limit + 1), b""):
            event = decode_event(line, name)
            if event["event"] == "progress":
                progress(event["stage"], event["done"], event["total"])
            elif event["event"] == "error":
                raise AgentError(event["kind"], "%s: %s" % (name, event["message"]), event["fix"])
            else:
                data: dict[str, Any] = event["data"]
                return data
    finally:
        timer.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    late = "it did not answer in time" if boottime_s() >= end else "it ended with status %s and without an answer" % process.returncode
    raise AgentError("runtime-failed", "%s: %s" % (name, late))
