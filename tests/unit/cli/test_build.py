"""What `edgekit build` says of an engine: where it is built, and with which commands."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.commands import run

DEMO = Path(__file__).resolve().parents[3] / "calibration" / "demo"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "my project"
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("build"))
    toml = folder / "edgekit.toml"
    toml.write_text(toml.read_text().replace('dataset = "evaluation.npz"', 'dataset = "evaluation.npz"\nsamples = 50'))
    monkeypatch.chdir(folder)
    return folder


def built(monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, Any]:
    text, code = run(monkeypatch, "build", "--target", "jetson", *words, "--json")
    assert code in (0, 8)  # so few samples may prove nothing
    engine: dict[str, Any] = json.loads(text)["engine"]
    return engine


def test_without_a_board_the_engine_is_announced_with_commands_to_copy(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, _ = run(monkeypatch, "build", "--target", "jetson", "--precision", "int8", "--workspace", "512")
    assert "the engine will be built on the board" in text
    (bundle,) = (project / "build").glob("*.edge")
    deploy = next(line for line in text.splitlines() if "edgekit deploy" in line)
    assert shlex.split(deploy)[-4:] == ["deploy", "NAME", "--bundle", str(bundle)]
    again = next(line for line in text.splitlines() if "edgekit build" in line)
    assert again.endswith("edgekit build --target jetson --device NAME --precision int8 --workspace 512")


def test_commands_name_the_projects_own_board(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (project / "edgekit.toml").open("a") as file:
        file.write('\n[devices.pi]\naddress = "pi@10.0.0.7"\ntarget = "rpi4"\n')
        file.write('\n[devices.orin]\naddress = "user@10.0.0.8"\ntarget = "jetson-orin-nano"\n')
    engine = built(monkeypatch)
    assert engine["built"] is False
    assert engine["key"] is None
    assert engine["recipe"]["precision"] == "mixed"
    assert shlex.split(engine["commands"]["deploy"])[:3] == ["edgekit", "deploy", "orin"]
    assert engine["commands"]["build"] == "edgekit build --target jetson --device orin"


def test_another_projects_file_is_in_the_commands(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    file = project / "edgekit.toml"
    commands = built(monkeypatch, "--project", str(file))["commands"]
    for command in commands.values():
        words = shlex.split(command)
        assert words[words.index("--project") + 1] == str(file)


def test_a_runtime_without_engines_says_nothing_of_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, _ = run(monkeypatch, "build", "--target", "local", "--json")
    assert json.loads(text)["engine"] is None
