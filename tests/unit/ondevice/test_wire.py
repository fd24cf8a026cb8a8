from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.ondevice import wire

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.text(min_size=1).filter(lambda text: "\0" not in text), st.dictionaries(st.text(), values, max_size=4))
def test_a_job_comes_through_as_it_was(name: str, fields: dict[str, Any]) -> None:
    fields = {key: value for key, value in fields.items() if key not in ("schema", "job", "root")}
    line = wire.encode_job(name, "~/.edgekit", fields)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert wire.decode_job(line) == {"schema": wire.JOB_SCHEMA, "job": name, "root": "~/.edgekit", **fields}


@given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
def test_any_line_is_read_or_refused(line: bytes) -> None:
    for decode in (wire.decode_job, wire.decode_event):
        with contextlib.suppress(wire.AgentError):
            assert isinstance(decode(line), dict)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1, "a": 2}', "twice"),
        ("[" * 17 + "]" * 17, "levels"),
        ("[" * 200_000, "not JSON"),
        ("NaN", "not JSON"),
        ("-Infinity", "not JSON"),
        ("9" * 21, "digits"),
        ("[" + "[]," * 1_100_000 + "0]", "values"),
        ('{"a": "' + "x" * 100 + '"}', "longer than"),
        ("\xff", "not JSON"),
    ],
)
def test_strict_json_refuses(text: str, why: str) -> None:
    limit_bytes = 50 if why == "longer than" else 1 << 25
    with pytest.raises(wire.AgentError, match=why):
        wire.strict_json(text.encode("latin-1"), "the text", limit_bytes)


def test_sixteen_levels_are_read() -> None:
    assert wire.strict_json(b"[" * 15 + b"1" + b"]" * 15, "the text", 100)


@pytest.mark.parametrize(
    "event",
    [
        {"event": "progress", "stage": "latency", "done": 1, "total": 2},
        {"event": "result", "data": {"a": [1.5, None]}},
        {"event": "error", "kind": "state", "message": "no", "fix": None},
    ],
)
def test_an_event_comes_through_as_it_was(event: dict[str, Any]) -> None:
    assert wire.decode_event(wire.encode_event(event)) == event


@pytest.mark.parametrize(
    "event",
    [
        {"event": "progress", "stage": "latency", "done": -1, "total": 2},
        {"event": "progress", "stage": "latency", "done": True, "total": 2},
        {"event": "progress", "stage": 1, "done": 1, "total": 2},
        {"event": "result", "data": [1]},
        {"event": "error", "kind": "state", "message": None, "fix": None},
        {"event": "error", "kind": "state", "message": "no", "fix": 3},
        {"event": ["result"], "data": {}},
        {"event": "other"},
        [],
    ],
)
def test_what_is_no_event_is_refused(event: Any) -> None:
    with pytest.raises(wire.AgentError, match="not an event"):
        wire.decode_event(json.dumps(event).encode())


def test_an_unknown_kind_of_error_reads_as_a_bug() -> None:
    assert wire.decode_event(b'{"event":"error","kind":"new","message":"no","fix":null}')["kind"] == "bug"


def test_a_job_may_answer_as_long_as_it_needs() -> None:
    line = wire.encode_event({"event": "result", "data": {"predictions": list(range(300_000))}})
    assert wire.decode_event(line, "probe.accuracy")["event"] == "result"
    with pytest.raises(wire.AgentError, match="longer than"):
        wire.decode_event(line, "store.status")


def test_the_longest_answer_of_a_probe_is_read() -> None:
    timings = {"invoke_ns": [10**11] * 200_000, "end_to_end_ns": [10**11] * 200_000}
    assert wire.decode_event(wire.encode_event({"event": "result", "data": timings}), "probe.latency")["data"] == timings
    guesses = {"predictions": [100_000] * 1_000_000, "labels": [100_000] * 1_000_000}
    assert wire.decode_event(wire.encode_event({"event": "result", "data": guesses}), "probe.accuracy")["data"] == guesses


def test_a_job_too_long_is_not_sent() -> None:
    with pytest.raises(wire.AgentError, match="may be sent"):
        wire.encode_job("facts", "~/.edgekit", {"x": "y" * wire.MAX_JOB_BYTES})


@pytest.mark.parametrize(
    "path", ["..", "a/..", "../a", "/a", "a//b", "a/", ".hidden", "a/.b", "", "a\\b", "a\nb", "a b", "a\0", "\N{SNOWMAN}", "-a"]
)
def test_paths_that_could_do_harm_are_refused(path: str) -> None:
    with pytest.raises(wire.AgentError):
        wire.matching(path, wire.PATH, "path")


@given(st.text(alphabet="a./\\~-_0", max_size=12))
def test_an_accepted_path_stays_below_its_folder(path: str) -> None:
    try:
        wire.matching(path, wire.PATH, "path")
    except wire.AgentError:
        return
    assert not path.startswith(("/", "-", "~"))
    assert all(part and not part.startswith(".") for part in path.split("/"))


@pytest.mark.parametrize("value", [True, 1.0, "1", None, 0, 11])
def test_a_whole_number_is_one_within_its_bounds(value: Any) -> None:
    assert wire.integer({"n": 10}, "n", 1, 10) == 10
    assert wire.integer({}, "n", 1, 10, 5) == 5
    with pytest.raises(wire.AgentError):
        wire.integer({"n": value}, "n", 1, 10)
