"""The words of ``edgekit deploy --to``: which boards they mean, what goes together, and what a machine without Dask says."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import click
import pytest
from rich.console import Console

from edgekit.cli.rollout import _Table
from edgekit.cli.words import complete_to, duration
from edgekit.device import Address, Device
from edgekit.inventory import find_devices
from edgekit.pipeline.rollout import Change
from edgekit.project import load_project
from tests.unit.bundles import write_small_bundle
from tests.unit.cli.commands import run

PROJECT = """
[devices.gate-1]
address = "10.0.0.1"
groups = ["gates", "north"]
[devices.gate-2]
address = "10.0.0.2"
groups = ["gates"]
[devices.bench]
address = "10.0.0.9"
groups = ["north"]
[devices.twin]
address = "10.0.0.9"
[devices.double]
address = "10.0.0.5"
groups = ["double"]
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "edgekit.toml"
    path.write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    return path


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("gates",), ["gate-1", "gate-2"]),
        (("north",), ["gate-1", "bench"]),
        (("bench", "gates"), ["bench", "gate-1", "gate-2"]),
        (("gates", "north"), ["gate-1", "gate-2", "bench"]),
        (("bench", "pi@10.0.0.7"), ["bench", "pi@10.0.0.7"]),
    ],
)
def test_words_mean_boards(project: Path, words: tuple[str, ...], names: list[str]) -> None:
    assert [device.name for device in find_devices(load_project(project), words)] == names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "gate"), "did you mean 'gates'?"),
        (("--to", "nroth"), "did you mean 'north'?"),
        (("--to", "bench", "--to", "twin"), "'bench' and 'twin' are the same board"),
        (("--to", "double"), "both a group and a device"),
        (("bench", "--to", "gates"), "edgekit deploy --to GROUP"),
        (("--to", "gates", "--dry-run"), "edgekit deploy --to GROUP"),
        (("bench", "--canary", "2"), "--canary is for a roll-out"),
        (("bench", "--max-failures", "0"), "--max-failures is for a roll-out"),
        (("bench", "--resume"), "--resume is for a roll-out"),
        (("--to", "gates", "--batch", "0%"), "neither a number of boards nor a share"),
        (("--to", "gates", "--pause", "30"), "is not a time as 30s"),
    ],
)
def test_words_that_do_not_go_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    _, code = run(monkeypatch, "deploy", *words, "--bundle", str(write_small_bundle(tmp_path / "build")))
    assert code == 2
    assert said in capsys.readouterr().err


def test_without_dask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    bundle = str(write_small_bundle(tmp_path / "build"))
    _, code = run(monkeypatch, "deploy", "--to", "gates", "--bundle", bundle, "--scheduler", "tcp://10.0.0.1:8786")
    assert code == 3
    assert "pip install 'edgekit[cluster]'" in capsys.readouterr().err


def test_the_table_shows_first_what_goes_on() -> None:
    devices = [Device(name=f"b{number}", address=Address(f"host{number}")) for number in range(4)]
    table = _Table(devices)
    for change in (
        Change("", "", "phase 2 of 3: 3 boards"),
        Change("b0", "done", "deployed in 3.2 s"),
        Change("b2", "running", "begun"),
        Change("b2", "", "send 40 %"),
        Change("b3", "failed", "no room\x1b[2J\nmore"),
    ):
        table.listen(change)
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    title, _, *rows = (" ".join(line.split()) for line in console.file.getvalue().splitlines())
    assert title == "phase 2 of 3: 3 boards 1 done, 1 failed, 1 running, 1 waiting"
    assert rows[0] == "b2 running send 40 %"
    assert rows[1].startswith("b3 failed no room")
    assert "\x1b" not in rows[1]
    assert rows[2:] == ["b1 waiting", "b0 done deployed in 3.2 s"]


def test_groups_and_devices_are_completed() -> None:
    ctx, param = click.Context(click.Command("deploy")), click.Option(["--to"])
    assert complete_to(ctx, param, "g") == ["gates", "gate-1", "gate-2"]


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("1.5m", 90), ("2h", 7200), ("7d", 604800), ("0s", 0)])
def test_times(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["30", "", "s", "-1s", "8d", "1e3s", "1w"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(click.BadParameter):
        duration(text)
