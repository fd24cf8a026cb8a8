"""What a project declares, and from where."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import InputError, UsageError
from edgekit.inventory import find_device
from edgekit.project import find_project, load_project, project_folder


def test_own_file_wins_over_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.edgekit.model]\npath = "a.onnx"\n')
    assert find_project(tmp_path) == tmp_path / "pyproject.toml"
    assert load_project(tmp_path / "pyproject.toml").model.path == "a.onnx"
    (tmp_path / "edgekit.toml").write_text('[model]\npath = "b.onnx"\n')
    assert find_project(tmp_path) == tmp_path / "edgekit.toml"


def test_pyproject_without_our_table_is_no_project(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.other]\n")
    assert find_project(tmp_path) is None


def test_project_lies_over_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "edgekit").mkdir()
    (tmp_path / "edgekit" / "config.toml").write_text('[devices.desk]\naddress = "pi@desk"\n[build]\ntarget = "rpi3"\n')
    own = tmp_path / "edgekit.toml"
    own.write_text('[build]\ntarget = "rpi4"\n[devices.rack]\naddress = "pi@rack"\n')
    project = load_project(own)
    assert project.build.target == "rpi4"
    assert sorted(project.devices) == ["desk", "rack"]


def test_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        project_folder(tmp_path / "edgekit.toml")


def test_device_by_name_by_address_and_by_default(tmp_path: Path) -> None:
    path = tmp_path / "edgekit.toml"
    path.write_text('[devices.gate]\naddress = "pi@10.0.0.7:2222"\nroot = "/data/edgekit"\n')
    project = load_project(path)
    assert str(find_device(project, None).address) == "pi@10.0.0.7:2222"
    assert find_device(project, "gate").root == "/data/edgekit"
    assert find_device(project, "gate", root="/tmp/x").root == "/tmp/x"
    assert str(find_device(project, "me@other").address) == "me@other"
    with pytest.raises(UsageError) as caught:
        find_device(project, "gat")
    assert caught.value.fix == "did you mean 'gate'?"


def test_no_device_to_fall_back_on() -> None:
    with pytest.raises(UsageError, match="which device"):
        find_device(load_project(None), None)
