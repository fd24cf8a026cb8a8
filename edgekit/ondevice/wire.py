"""The job and the events as JSON lines: encoding, bounded decoding, and the checks of single fields.

Used by the agent, by every job (`AgentError`, the field checks) and by the host, which writes jobs and reads events.
"""

from __future__ import annotations

import json
import re
from typing import Any, Callable

__all__ = ["KINDS", "MAX_EVENT_BYTES", "AgentError", "Progress", "decode_event", "decode_job", "encode_event", "encode_job"]

Progress = Callable[[str, int, int], None]
JOB_SCHEMA = "edgekit.job/1"
MAX_JOB_BYTES = 1 << 20
MAX_EVENT_BYTES = 64 << 20  # two series of 200,000 timings and a million predictions fit
MAX_DEPTH = 16

# What an error may be: flags or fields; a model, sample set or manifest; no runtime; the runtime said no; disk; a digest;
# the board is not in the state the job needs; told to stop; our own mistake.
KINDS = ("usage", "input", "runtime-missing", "runtime-failed", "no-space", "mismatch", "state", "stopped", "bug")

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
DIGEST = re.compile(r"[0-9a-f]{64}")
# Plain relative paths: no part can climb, hide or surprise a shell.
PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}){0,7}")
WHEEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!-]{0,199}\.whl")


class AgentError(Exception):
    """What a job could not do; ``kind`` is one of `KINDS`, ``fix`` what mends it."""

    def __init__(self, kind: str, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.fix = fix


def strict_json(data: bytes, what: str, limit_bytes: int, kind: str = "input") -> Any:
    """Parse JSON that nobody vouches for: bounded, UTF-8, no NaN, no doubled keys, numbers of at most 20 digits, `MAX_DEPTH` levels.

    Raises
    ------
    AgentError
        Of the given ``kind``; ``what`` names the document in the message.
    """
    if len(data) > limit_bytes:
        raise AgentError(kind, "%s is longer than %d bytes" % (what, limit_bytes))
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refuse, parse_int=_short_int)
        _shallow(value)
    except (ValueError, RecursionError) as error:
        raise AgentError(kind, "%s is not JSON as expected: %s" % (what, error)) from error
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _refuse(constant: str) -> float:
    raise ValueError("%s is no JSON number" % constant)


def _short_int(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("a number of %d digits" % len(digits))
    return int(digits)


def _shallow(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return
        level = below
    raise ValueError("more than %d levels deep" % MAX_DEPTH)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def encode_job(name: str, root: str, fields: dict[str, Any]) -> bytes:
    """Return the one line that starts a job."""
    line = _line({"schema": JOB_SCHEMA, "job": name, "root": root, **fields})
    if len(line) > MAX_JOB_BYTES:
        raise AgentError("usage", "the job %s is longer than %d bytes" % (name, MAX_JOB_BYTES))
    return line


def decode_job(line: bytes) -> dict[str, Any]:
    """Return a job whose ``schema``, ``job`` and ``root`` are as they must be; the job itself checks its other fields."""
    job = strict_json(line, "the job", MAX_JOB_BYTES, "usage")
    if not isinstance(job, dict) or job.get("schema") != JOB_SCHEMA:
        raise AgentError("usage", "the job is not of schema %s" % JOB_SCHEMA, "use the agent of the same edgekit release")
    for key in ("job", "root"):
        if not isinstance(job.get(key), str) or not job[key] or "\0" in job[key]:
            raise AgentError("usage", "the job's %s must be a text" % key)
    return job


def encode_event(event: dict[str, Any]) -> bytes:
    """Return an event as its line."""
    line = _line(event)
    if len(line) > MAX_EVENT_BYTES:
        raise AgentError("bug", "an event of %d bytes" % len(line))
    return line


def decode_event(line: bytes) -> dict[str, Any]:
    """Return one event of a device, its shape checked; an error's ``kind`` outside `KINDS` reads as ``bug``.

    Raises
    ------
    AgentError
        Kind ``usage``: the line is no event.
    """
    event = strict_json(line, "the device's answer", MAX_EVENT_BYTES, "usage")
    sort = event.get("event") if isinstance(event, dict) else None
    if sort == "progress":
        good = isinstance(event.get("stage"), str) and all(_is_count(event.get(key)) for key in ("done", "total"))
    elif sort == "result":
        good = isinstance(event.get("data"), dict)
    elif sort == "error":
        good = all(isinstance(event.get(key), str) for key in ("kind", "message")) and isinstance(event.get("fix"), (str, type(None)))
        if good and event["kind"] not in KINDS:
            event["kind"] = "bug"
    else:
        good = False
    if not good:
        raise AgentError("usage", "the device's answer is not an event: %r" % line[:200])
    checked: dict[str, Any] = event
    return checked


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def matching(value: object, pattern: re.Pattern[str], what: str) -> str:
    """Return a text that fits a pattern as a whole (`NAME`, `DIGEST`, `PATH`, `WHEEL`)."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise AgentError("usage", "%s is not as it must be: %.200r" % (what, value))
    return value


def release_or_none(job: dict[str, Any]) -> str | None:
    """Return the job's ``release``; absent or null means the current one."""
    return None if job.get("release") is None else matching(job["release"], DIGEST, "release")


def integer(job: dict[str, Any], key: str, low: int, high: int, default: int | None = None) -> int:
    """Return a whole number within its bounds; a missing one is an error unless there is a default."""
    value = job.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise AgentError("usage", "%s must be a whole number from %d to %d, not %.100r" % (key, low, high, value))
    return value


def number(job: dict[str, Any], key: str, low: float, high: float, default: float) -> float:
    """Return a number within its bounds."""
    value = job.get(key, default)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        raise AgentError("usage", "%s must be a number from %g to %g, not %.100r" % (key, low, high, value))
    return float(value)
