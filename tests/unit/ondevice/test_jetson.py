"""NVIDIA's boards as ``tests/cases/jetson/*.toml`` describe them (its README says what a case is): not proven on hardware."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice import board, facts, jetson, sensor

if sys.version_info >= (3, 11):
    import tomllib
elif sys.version_info >= (3, 9):
    import tomli as tomllib
else:
    tomllib = pytest.importorskip("tomli", reason="no TOML reader for Python 3.8")

CASES = sorted((Path(__file__).resolve().parents[2] / "cases" / "jetson").glob("*.toml"))


@pytest.fixture(params=CASES, ids=lambda path: path.stem)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return a case, its files below the folder ``top``."""
    found: dict[str, Any] = tomllib.loads(request.param.read_text(encoding="utf-8"))
    for name, text in found["files"].items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name in found["unreadable"]:
        (tmp_path / name).mkdir()  # reading it fails, for root as well
    return {**found, "top": str(tmp_path)}


def test_a_case_says_where_it_comes_from(case: dict[str, Any]) -> None:
    assert len(case["origin"]) > len("a document")


def test_module_and_system(case: dict[str, Any]) -> None:
    assert jetson.jetson(case["top"]) == {"power_mode": None, **case["jetson"]}


def test_sensors(case: dict[str, Any]) -> None:
    found = facts.hardware(case["top"])
    assert found["board"] == case["files"]["proc/device-tree/model"].strip("\0")
    assert found["sensors"] == [
        {"name": entry["name"], "kind": entry["kind"], "value": pytest.approx(entry["value"]), "unit": entry["unit"]}
        for entry in case.get("sensors", [])
    ]


def test_what_slows_the_board_down(case: dict[str, Any]) -> None:
    found = board.state(case["top"])
    assert found["gpu"] == case.get("gpu")
    assert found["throttle_events"] == case["throttle_events"]
    assert found["alarms"] == case["alarms"]
    assert found["power_mode"] == case["jetson"].get("power_mode")


def test_another_board_is_no_jetson(tmp_path: Path) -> None:
    assert jetson.jetson(str(tmp_path)) is None
    assert sensor.sensors(str(tmp_path)) == []


@pytest.mark.parametrize(
    ("release", "jetpack"),
    [
        ((35, 6, 2), "5.1.5"),
        ((35, 6, 4), "5.1.6"),
        ((36, 4, 7), "6.2.1"),
        ((38, 2, 1), "7.0"),
        ((39, 2, 2), "7.2.1"),
        ((36, 2, 0), None),
        ((40, 1, 0), None),
    ],
)
def test_the_jetpack_of_a_later_fix(release: tuple[int, int, int], jetpack: str | None) -> None:
    assert jetson.jetpack_of(release) == jetpack


# Answers of nvpmodel -q in public logs: Jetson Linux 32 and 35, 36.
@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ("NV Fan Mode:quiet\nNV Power Mode: MODE_15W_6CORE\n2\n", "MODE_15W_6CORE"),
        ("NVPM WARN: fan mode is not set!\nNV Power Mode:MAXN\n0\n", "MAXN"),
        ("NV Power Mode: MAXN_SUPER\n2\n", "MAXN_SUPER"),
        ("NVPM ERROR: no power mode\n", None),
    ],
)
def test_the_answer_of_nvpmodel(tmp_path: Path, said: str, mode: str | None) -> None:
    assert jetson.queried_mode(said) == mode
    program = tmp_path / "usr" / "sbin" / "nvpmodel"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\ntest \"$1\" = -q && cat <<'END'\n" + said + "END\n")
    program.chmod(0o755)
    assert jetson.power_mode(str(tmp_path)) == mode
