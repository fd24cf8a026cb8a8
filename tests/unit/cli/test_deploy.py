"""Which bundle ``edgekit deploy`` takes when none is named."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from edgekit.bundle import write_bundle
from edgekit.cli.deploy import _newest
from edgekit.device import Address, Device
from edgekit.errors import InputError, UsageError
from edgekit.project import ModelSection, Project
from tests.unit.bundles import FILES, small_manifest
from tests.unit.cli.commands import run

BOARDS = ["local", "rpi4", "rpi5", "rpi3"]


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """Bundles of two models for several boards; of each model, a later board's is newer, and sorter's are newer than meter's."""
    folder = tmp_path / "build"
    for age, (name, target) in enumerate((name, target) for name in ("meter", "sorter") for target in BOARDS):
        path = write_bundle(msgspec.structs.replace(small_manifest(), name=name, target=target), FILES, folder)
        os.utime(path, (age, age))
    return folder


def chosen(build: Path, name: str | None, target: str | None) -> str:
    device = Device(name="gate", address=Address("gate"), target=target)
    return _newest(build, Project(model=ModelSection(name=name)), device).name.rpartition("-")[0]


@pytest.mark.parametrize(
    ("name", "target", "expected"),
    [
        (None, None, "sorter-rpi3"),
        ("meter", None, "meter-rpi3"),
        (None, "rpi4", "sorter-rpi4"),
        ("meter", "rpi4", "meter-rpi4"),
        ("meter", "rpi", "meter-rpi3"),
        ("sorter", "local", "sorter-local"),
    ],
)
def test_the_newest_of_the_projects_name_for_the_devices_kind(build: Path, name: str | None, target: str | None, expected: str) -> None:
    assert chosen(build, name, target) == expected


def test_a_family_s_bundle_serves_its_members(build: Path) -> None:
    write_bundle(msgspec.structs.replace(small_manifest(), target="rpi"), FILES, build)
    assert chosen(build, "meter", "rpi4") == "meter-rpi"


def test_none_that_fits_lists_what_there_is(build: Path) -> None:
    for path in build.glob("*-rpi5-*"):
        path.unlink()
    with pytest.raises(InputError) as caught:
        chosen(build, "meter", "rpi5")
    assert "no bundle of meter for rpi5 in it; there are: sorter-rpi3-" in caught.value.message
    assert "(meter for local)" in caught.value.message
    assert caught.value.fix == "edgekit build --target rpi5, or name one with --bundle"


def test_a_device_of_an_unknown_kind_is_a_usage_error(build: Path) -> None:
    with pytest.raises(UsageError, match="rpi9"):
        chosen(build, None, "rpi9")


def test_it_says_which(build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "edgekit.toml").write_text('[model]\nname = "meter"\n[devices.gate]\naddress = "local"\ntarget = "rpi4"\nroot = "~/e"\n')
    monkeypatch.chdir(tmp_path)
    _, code = run(monkeypatch, "deploy", "gate")
    assert code == 6, "these bundles are for aarch64 alone, and their model is none"
    assert "the newest bundle that fits is build/meter-rpi4-" in capsys.readouterr().err.replace(f"{tmp_path}/", "")
