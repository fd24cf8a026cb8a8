"""The border: messages name the place and the nearest key."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import InputError
from edgekit.manifest import Manifest
from edgekit.parse import from_json, into, read_toml
from edgekit.project import Project


@pytest.mark.parametrize(
    ("data", "message", "fix"),
    [
        ({"calibration": {"datset": "x"}}, "edgekit.toml: unknown key 'calibration.datset'", "did you mean 'dataset'?"),
        ({"calibratoin": {}}, "edgekit.toml: unknown key 'calibratoin'", "did you mean 'calibration'?"),
        ({"budget": {"zzz": 1}}, "edgekit.toml: unknown key 'budget.zzz'", "known keys: accuracy_drop_max, latency_p99_ms"),
        ({"ci": {"probes": ["latency"], "proves": []}}, "edgekit.toml: unknown key 'ci.proves'", "did you mean 'probes'?"),
        ({"devices": {"pi": {"adress": "x"}}}, "edgekit.toml: unknown key 'devices[...].adress'", "did you mean 'address'?"),
    ],
)
def test_unknown_key_names_its_place_and_the_nearest(data: object, message: str, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        into(data, Project, "edgekit.toml")
    assert caught.value.message == message
    assert caught.value.fix == fix


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"model": {"path": 3}}, ["model.path", "str", "int"]),
        ({"calibration": {"samples": 0}}, ["calibration.samples", ">= 1"]),
        ({"calibration": {"method": "guess"}}, ["calibration.method", "guess"]),
        ({"preprocess": {"resize": [1, 2, 3]}}, ["preprocess.resize"]),
        ({"devices": {"pi": {}}}, ["address"]),
    ],
)
def test_wrong_value_names_its_place(data: object, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        into(data, Project, "edgekit.toml")
    assert all(word in caught.value.message for word in words), caught.value.message


def test_toml_error_has_the_line(tmp_path: Path) -> None:
    path = tmp_path / "edgekit.toml"
    path.write_text("[model]\npath = \n")
    with pytest.raises(InputError, match="line 2"):
        read_toml(path)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"schema": "edgekit.bundle/2"}', b"[" * 100_000, b"\xff"])
def test_hostile_json_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"^here"):
        from_json(data, Manifest, "here")


def test_json_is_bounded() -> None:
    with pytest.raises(InputError, match="more than the 10 allowed"):
        from_json(b" " * 11, Manifest, "here", max_bytes=10)
