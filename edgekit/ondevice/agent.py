"""The agent: one job in on stdin, JSON lines out on stdout, one exit code. The only file that knows all jobs.

stdout belongs to the protocol: its descriptor is kept aside at the start and 1 becomes 2, so that a chatty runtime cannot break a line.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import os
import signal
import sys
from typing import Any, BinaryIO

from .lease import guarded
from .stdin import Stdin, set_aside
from .wire import MAX_JOB_BYTES, NAME, AgentError, decode_job, encode_event, matching

__all__ = ["JOBS", "UNGUARDED", "main"]

JOBS = {
    "facts": "facts:facts",
    "deploy.admit": "trust:admit",
    "store.stage": "store:stage",
    "store.restore": "restore:restore",
    "store.rollback": "recover:rollback",
    "store.status": "releases:status",
    "deploy.activate": "deploy:activate",
    "deploy.prove": "prove:prove",
    "deploy.commit": "deploy:commit",
    "deploy.settle": "recover:settle",
    "deploy.watch": "watch:watch",
    "trust.set": "trust:set_trust",
    "trust.show": "trust:show",
    "lease.release": "lease:release",
    "lease.show": "lease:show",
    "lease.take": "lease:take",
    "transfer.offer": "transfer:offer",
    "transfer.take": "transfer:take",
    "runtime.install": "wheels:install",
    "engine.build": "tensorrt.build:build",
    "engine.check": "tensorrt.check:check",
    "engine.race": "tensorrt.race:race",
    "engine.work": "tensorrt.work:work",
    "golden": "accuracy:golden",
    "infer": "accuracy:infer",
    "probe.accuracy": "accuracy:probe",
    "probe.cold": "once:cold",
    "probe.consistency": "consistency:probe",
    "probe.energy": "energy:probe",
    "probe.latency": "latency:probe",
    "probe.memory": "once:memory",
    "probe.ops": "ops:probe",
    "probe.outputs": "accuracy:outputs",
    "probe.soak": "soak:probe",
    "probe.throughput": "throughput:probe",
    "probe.regression": "regression:probe",
    "serve": "serve:serve",
    "service.look": "service:look",
    "service.install": "service:install",
    "service.show": "service:show",
    "service.remove": "service:remove",
}
# What neither changes nor measures the board, and what the board starts itself; every other job runs under `lease.guarded`.
_ASKING = {"facts", "store.status", "trust.show", "deploy.admit", "transfer.offer", "engine.check", "service.look", "service.show"}
_OWN = {"engine.work", "deploy.settle", "deploy.watch", "serve"}
UNGUARDED = frozenset(_ASKING | _OWN | {"lease.show", "lease.take", "lease.release"})
# What decides which release runs: where the disk fails under it, what is current may not be what was.
DECIDING = {"deploy.activate", "deploy.prove", "deploy.commit", "store.restore", "store.rollback"}
# What follows their line on stdin is theirs.
STREAMED = ("transfer.take",)
# What answers in parts, of which those that came count if the rest does not.
TOLD = ("probe.outputs", "probe.soak")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal told us to end; not an Exception, so that no job swallows it."""


def main(argv: list[str] | None = None) -> int:
    """Run the one job on stdin and return the exit code: 0 a result, 1 an error, 128 + n stopped by a signal."""
    wire = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    stdin = set_aside()
    for number in SIGNALS:
        signal.signal(number, _stop)
    code = 1
    try:
        try:
            if sys.argv[1:] if argv is None else argv:
                raise AgentError("usage", "the agent takes no arguments: one job as a line on stdin")
            _send(wire, "result", data=_run(wire, stdin))
            code = 0
        except Stopped as stopped:
            code = 128 + stopped.args[0]
            _send(wire, "error", kind="stopped", message="stopped by signal %d" % stopped.args[0], fix=None)
        except AgentError as error:
            _send(wire, "error", kind=error.kind, message=error.message, fix=error.fix)
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001  # the one boundary: a bug, too, is an answer
            import traceback  # costs every job a fifth of its start

            traceback.print_exc()
            full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            kind = "no-space" if full else "state" if isinstance(error, OSError) else "bug"
            _send(wire, "error", kind=kind, message="%s: %s" % (type(error).__name__, error), fix=None)
        wire.close()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), wire.fileno())  # where the buffer may empty itself
        sys.stderr.write("the host has gone\n")
    return code


def _stop(number: int, _frame: object) -> None:
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)  # once is enough: cleaning up is not interrupted
    raise Stopped(number)


def _send(wire: BinaryIO, event: str, **fields: Any) -> None:
    wire.write(encode_event({"event": event, **fields}))
    wire.flush()


def _tell(wire: BinaryIO, data: dict[str, Any]) -> None:
    _send(wire, "part", data=data)


def _run(wire: BinaryIO, stdin: Stdin) -> Any:
    job = decode_job(stdin.line(MAX_JOB_BYTES))
    if job["job"] not in JOBS:
        raise AgentError("usage", "no job is called %.100r" % job["job"], "use one of: %s" % ", ".join(sorted(JOBS)))
    root = os.path.expanduser(job["root"])
    if not os.path.isabs(root):
        raise AgentError("usage", "root must be absolute or begin with ~: %.200r" % job["root"])

    def progress(stage: str, done: int, total: int) -> None:
        _send(wire, "progress", stage=stage, done=done, total=total)

    module, _, function = JOBS[job["job"]].partition(":")
    run, root = getattr(importlib.import_module("." + module, __package__), function), os.path.realpath(root)
    try:
        with contextlib.nullcontext() if job["job"] in UNGUARDED else guarded(job, root):
            if job["job"] in STREAMED:
                return run(job, root, progress, stdin)
            if job.get("tether") is True:  # the host keeps stdin open as long as it lives
                stdin.tether()
            more = [functools.partial(_tell, wire)] if job["job"] in TOLD else []
            try:
                return run(job, root, progress, *more)
            finally:
                stdin.release()
    except OSError as error:
        if job["job"] not in DECIDING or isinstance(error, BrokenPipeError):
            raise
        recover = importlib.import_module(".recover", __package__)
        raise recover.stuck(root, matching(job.get("app"), NAME, "app"), error) or error from error
