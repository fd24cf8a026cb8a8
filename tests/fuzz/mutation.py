"""Hostile inputs: bytes and JSON that are nearly right, broken in a few places, and what is not right at all."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

# What has broken parsers before: other types, ends of ranges, numbers JSON does not have, depth, names that climb, hide or end early.
TOKENS = [
    b"", b"\0", b"\n", b'"', b"\\", b"\\u0000", b"\\ud800", b"\xff\xfe", b"{", b"}", b"[" * 200, b"]" * 99, b"[" * 20000,
    b'{"a":' * 20000, b",", b":", b"NaN", b"-Infinity", b"1e999", b"-0", b"0" * 30, b"9" * 400, b"null", b"true", b"1.5", b'"a":1,"a":2',
    b"../", b"/", b"..", b"%s", b"\x1b[2J", b"\xe2\x80\xae", b" " * 1000,
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 1 << 31, 1 << 53, 1 << 63, -(1 << 63), 10**19, 1.5, -0.0, 1e308, "", "\0", "a\n", "..", "../../x",
    "/etc/passwd", "~", "~root/x", "-rf", ".hidden", "a" * 5000, "\ud800", "\u202e", "%s", "$(id)", "`id`", "current", "meter", "0" * 64,
    "f" * 64, [], {}, [[]], {"": ""}, [None] * 50, {"a": {"a": {"a": {}}}}, {"__class__": 1},
]  # fmt: skip


@st.composite
def broken_bytes(draw: st.DrawFn, sound: bytes) -> bytes:
    """Edit bytes in one to four places: a bit, a piece cut out, doubled or moved, a token put in, the end gone."""
    data = sound
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([1, 1, 2, 8, 64, 512, 1 << 20])))
        piece, kind = data[start:end], draw(st.integers(0, 6))
        if kind == 0 and piece:
            data = data[:start] + bytes([data[start] ^ 1 << draw(st.integers(0, 7))]) + data[start + 1 :]
        elif kind == 1:
            data = data[:start] + data[end:]
        elif kind == 2:
            data = data[:end] + piece[: 1 << 16] + data[end:]
        elif kind == 3:
            to = draw(st.integers(0, len(data)))
            data = data[:to] + piece + data[to:]
        elif kind == 4:
            data = data[:start]
        else:
            token = draw(st.sampled_from(TOKENS)) if kind == 5 else draw(st.binary(max_size=16))
            data = data[:start] + token + data[start if draw(st.booleans()) else start + len(token) :]
    return data


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += _places(item, (*at, key))
    return found


_LEAVES = st.sampled_from(VALUES).map(copy.deepcopy) | st.integers(-(1 << 70), 1 << 70) | st.text(max_size=8) | st.floats(allow_nan=False)
STRANGERS = _LEAVES | st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=6
)
"""Any value, the worst ones often; an infinity is written as JSON does not allow it."""


@st.composite
def broken_value(draw: st.DrawFn, sound: Any) -> Any:
    """Change a JSON value in one to three places: another value, a key gone, a key too many, an item doubled."""
    value = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.sampled_from(_places(value)))
        if not at:
            if draw(st.integers(0, 9)) == 0:
                return draw(STRANGERS)
            continue
        holder = value
        for key in at[:-1]:
            holder = holder[key]
        kind = draw(st.integers(0, 5))
        if kind == 0:
            del holder[at[-1]]
        elif kind == 1 and isinstance(holder, dict):
            holder[draw(st.text(max_size=5))] = draw(STRANGERS)
        elif kind == 2 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[at[-1]]))
        else:
            holder[at[-1]] = draw(STRANGERS)
    return value


def broken_json(sound: Any) -> st.SearchStrategy[bytes]:
    """Return a strategy for JSON text near a value: the value broken, its bytes broken, or both kinds of junk."""
    whole = json.dumps(sound).encode()
    as_text = broken_value(sound).map(lambda value: json.dumps(value).encode())
    return as_text | as_text | broken_bytes(whole) | st.binary(max_size=64) | STRANGERS.map(lambda value: json.dumps(value).encode())
