"""A report that could not be kept is refused before the board measures."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgekit.pipeline.probes import PROBES
from tests.unit.cli.commands import run

PLACES = ["/proc/x/y.json", "/proc/y.json", "a-file/y.json", "a-file/below/y.json"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("probe", ["latency", "accuracy"])
def test_a_place_that_cannot_be_written_to(
    probe: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a-file").write_text("")
    monkeypatch.chdir(tmp_path)
    # Nobody listens there: had the device been asked first, the error would be another.
    assert run(monkeypatch, "probe", probe, "nobody@127.0.0.1:1", "--report", place) == ("", 3)
    assert f"error: {os.path.dirname(place)}: cannot be written to: " in capsys.readouterr().err  # noqa: PTH120 - as it was typed
    assert [path.name for path in tmp_path.iterdir()] == ["a-file"]


def test_a_place_that_can_be_made_is_not_made_in_vain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "probe", "latency", "nobody@127.0.0.1:1", "--report", "new/folder/y.json")[1] == 5
    assert list(tmp_path.iterdir()) == []


def test_the_probes_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    text, code = run(monkeypatch, "probe", "--list", "--json")
    assert code == 0
    assert [one["name"] for one in json.loads(text)["probes"]] == list(PROBES)


def test_no_default_is_told_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    text, code = run(monkeypatch, "probe", "accuracy", "--help")
    assert code == 0
    assert "[default: ]" not in text


@pytest.mark.parametrize("command", [("probe", "latency"), ("compare",)])
def test_more_threads_than_an_agent_takes_are_the_users_mistake(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, *command, "nobody@127.0.0.1:1", "--threads", "257")[1] == 2


def test_a_project_sets_what_the_command_line_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The options are judged before anything is measured, wherever they come from."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edgekit.toml").write_text("[probe.latency]\nmin_tim_s = 1\n")
    assert run(monkeypatch, "probe", "latency", "nobody@127.0.0.1:1")[1] == 3
    assert "[probe.latency]: unknown key 'min_tim_s'" in capsys.readouterr().err
    (tmp_path / "edgekit.toml").write_text("[probe.latencies]\nmin_time_s = 1\n")
    assert run(monkeypatch, "probe", "latency", "nobody@127.0.0.1:1")[1] == 3
    assert "[probe.latencies]: no probe is called so" in capsys.readouterr().err
