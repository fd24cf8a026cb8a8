"""The job and the events as JSON lines: encoding, bounded decoding, and the checks of single fields.

Used by the agent, by every job (`AgentError`, the field checks) and by the host, which writes jobs and reads events.
"""

from __future__ import annotations

import json
import re
from typing import Any, Callable

__all__ = ["IMPORT_TIMEOUT_S", "JOB_SCHEMA", "KINDS", "SENT_STAGE", "AgentError", "Progress", "decode_event", "encode_job", "strict_json"]

Progress = Callable[[str, int, int], None]
# The one stage of progress that is counted in bytes.
SENT_STAGE = "send"

JOB_SCHEMA = "edgekit.job/1"
MAX_JOB_BYTES, MAX_EVENT_BYTES = 8 << 20, 1 << 20
# Of the jobs that answer with numbers per run or sample: eight series of 200,000 timings, predictions and labels of a million samples; the
# race's are those of several engines, see there.
LONG_EVENT_BYTES = {
    "probe.latency": 24 << 20,
    "probe.accuracy": 20 << 20,
    "probe.energy": 8 << 20,
    "probe.ops": 16 << 20,
    "probe.outputs": 32 << 20,
    "probe.throughput": 8 << 20,
    "probe.regression": 4 << 20,
    "infer": 20 << 20,
    "engine.race": 32 << 20,
}
MAX_DEPTH, MAX_VALUES = 16, 2_100_000  # parsed, a value takes many times its bytes
IMPORT_TIMEOUT_S = 300  # a runtime's import, from a slow card

# What went wrong: the job's fields; a model, sample set or manifest; no runtime; the runtime said no; the disk is full; bytes are not
# those that were promised; the board is not in the state the job needs; another agent is at work; told to stop; our own mistake; no
# signature that counts, or a release older than one that ran; a release that did not prove itself and was taken back; one that could not
# be taken back.
KINDS = (
    "usage",
    "input",
    "runtime-missing",
    "runtime-failed",
    "no-space",
    "mismatch",
    "state",
    "busy",
    "stopped",
    "bug",
    "untrusted",
    "undone",
    "inconsistent",
)

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
DIGEST = re.compile(r"[0-9a-f]{64}")
# Plain relative paths: no part can climb, hide or surprise a shell.
PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}){0,7}")
WHEEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!-]{0,199}\.whl")


class AgentError(Exception):
    """What a job could not do; ``kind`` is one of `KINDS`, ``fix`` what mends it."""

    def __init__(self, kind: str, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.kind, self.message, self.fix = kind, message, fix


def strict_json(data: bytes, what: str, limit_bytes: int) -> Any:
    """Parse JSON that nobody vouches for: bounded, no NaN, no doubled keys, whole numbers of at most 20 digits, `MAX_DEPTH` levels."""
    if len(data) > limit_bytes or sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise AgentError("usage", "%s is longer than %d bytes or %d values" % (what, limit_bytes, MAX_VALUES))
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_short, parse_int=_short)
        level = [value]
        for _ in range(MAX_DEPTH):
            below = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, (dict, list))]
            level = [item for part in below for item in part]
        if level:
            raise ValueError("more than %d levels deep" % MAX_DEPTH)
    except (ValueError, RecursionError) as error:
        raise AgentError("usage", "%s is not JSON as expected: %s" % (what, error)) from error
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _short(text: str) -> int:
    if len(text) > 20:
        raise ValueError("a number of %d digits" % len(text))
    return int(text)  # refuses NaN and the infinities, which come here too


def encode_event(value: dict[str, Any], limit_bytes: int = max(LONG_EVENT_BYTES.values())) -> bytes:
    """Return an event as its line."""
    line = json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"
    if len(line) > limit_bytes:
        raise AgentError("usage", "a line of %d bytes; %d may be sent" % (len(line), limit_bytes))
    return line


def encode_job(name: str, root: str, fields: dict[str, Any]) -> bytes:
    """Return the one line that starts a job."""
    return encode_event({"schema": JOB_SCHEMA, "job": name, "root": root, **fields}, MAX_JOB_BYTES)


def decode_job(line: bytes) -> dict[str, Any]:
    """Return a job whose ``schema``, ``job`` and ``root`` are as they must be; the job itself checks its other fields."""
    job = strict_json(line, "the job", MAX_JOB_BYTES)
    if not isinstance(job, dict) or job.get("schema") != JOB_SCHEMA:
        raise AgentError("usage", "the job is not of schema %s" % JOB_SCHEMA, "use the agent of the same edgekit release")
    for key in ("job", "root"):
        if not isinstance(job.get(key), str) or not job[key] or "\0" in job[key]:
            raise AgentError("usage", "the job's %s must be a text" % key)
    return job


def decode_event(line: bytes, job: str = "") -> dict[str, Any]:
    """Return one event of a job, its shape checked (`AgentError`); an error's ``kind`` outside `KINDS` reads as ``bug``."""
    parsed = strict_json(line, "the device's answer", LONG_EVENT_BYTES.get(job, MAX_EVENT_BYTES))
    event: dict[str, Any] = parsed if isinstance(parsed, dict) else {}
    good = event.get("event") in ("result", "part") and isinstance(event.get("data"), dict)
    if event.get("event") == "progress":
        good = isinstance(event.get("stage"), str) and all(type(event.get(key)) is int and event[key] >= 0 for key in ("done", "total"))
    elif event.get("event") == "error":
        good = all(isinstance(event.get(key), str) for key in ("kind", "message")) and isinstance(event.get("fix"), (str, type(None)))
        event = {"fix": None, **event, "kind": event.get("kind") if event.get("kind") in KINDS else "bug"}
    if not good:
        raise AgentError("usage", "the device's answer is not an event: %.200r" % line[:200])
    return event


def matching(value: object, pattern: re.Pattern[str], what: str) -> str:
    """Return a text that fits a pattern as a whole (`NAME`, `DIGEST`, `PATH`, `WHEEL`)."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise AgentError("usage", "%s is not as it must be: %.200r" % (what, value))
    return value


def integer(fields: dict[str, Any], key: str, low: int, high: int, default: int | None = None) -> int:
    """Return a whole number within its bounds; a missing one is an error unless there is a default."""
    value = fields.get(key, default)
    if type(value) is not int or not low <= value <= high:
        raise AgentError("usage", "%s must be a whole number from %d to %d, not %.100r" % (key, low, high, value))
    return value


def number(fields: dict[str, Any], key: str, low: float, high: float, default: float) -> float:
    """Return a number within its bounds."""
    value = fields.get(key, default)
    if type(value) not in (int, float) or not low <= value <= high:
        raise AgentError("usage", "%s must be a number from %g to %g, not %.100r" % (key, low, high, value))
    return float(value)
