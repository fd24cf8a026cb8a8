"""`edgekit ci` before and after its run: what is refused before anything begins, and a verdict that no lost file hides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import edgekit.cli.ci as module
from edgekit.runs.run import Run, Step
from tests.unit.cli.commands import run
from tests.unit.runs.test_junit import run_of


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_report_that_is_gone_hides_no_verdict(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody has cleaned the build folder: the run's verdict, its JUnit document and its exit code are what they were."""

    def done(*_: Any, **__: Any) -> Run:
        return run_of(Step(name="accuracy", probe=True, code=1, report=str(here / "gone.json")))

    monkeypatch.setattr(module, "run_ci", done)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(here / "job.md"))
    (here / "edgekit.toml").write_text("")
    text, code = run(monkeypatch, "ci", "local", "--junit", "junit.xml", "--markdown", "run.md", "--json")
    assert code == 1, text
    assert "gone.json" in json.loads(text)["run"]["notes"][0]
    assert (here / "junit.xml").is_file()
    assert not (here / "run.md").exists()
    assert "the job's summary cannot be written" in capsys.readouterr().err


def test_a_virtual_board_that_is_not_up_is_an_unreachable_board(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "edgekit.toml").write_text("[ci]\nretries = 0\n")
    text, code = run(monkeypatch, "ci", "virtual-rpi4", "--junit", "junit.xml", "--json")
    assert code == 5, text
    steps = {step["name"]: step for step in json.loads(text)["run"]["steps"]}
    assert (steps["lease"]["error"], steps["lease"]["fix"]) == ("DeviceError", "edgekit virtual up rpi4")
    assert "<error" in (here / "junit.xml").read_text()


def test_a_probes_options_are_looked_at_before_a_board_is_taken(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "edgekit.toml").write_text('[probe.latency]\nmin_time = "2s"\n')
    text, code = run(monkeypatch, "ci", "local", "--junit", "junit.xml", "--json")
    assert code == 3, text
    assert "[probe.latency]" in json.loads(text)["error"]["message"]
    assert not (here / "junit.xml").exists(), "nothing was begun"
