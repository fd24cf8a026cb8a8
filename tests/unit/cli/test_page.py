"""Text for people: nothing is cut, nothing is taken for markup, no control character gets through."""

from __future__ import annotations

import io
import re
from pathlib import Path

import msgspec
import pytest

from edgekit.bundle import write_bundle
from edgekit.cli.output import Page, render
from edgekit.model import TensorSpec
from edgekit.report import BundleName, DeviceName, Measurement, Report, Verdict, encode_report
from tests.unit.bundles import FILES, small_manifest, write_small_bundle
from tests.unit.cli.commands import run

STYLE = re.compile(r"\x1b\[[0-9;]*m")
DIGEST = "0123456789abcdef" * 4


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR")
    return Terminal()


def everything(page: Page) -> None:
    page.line("[bold]path[/x]:smile: \x1b[2J", (" [red]styled[/]", "red"))
    page.table(("name [/h]", "value"), [("out [/x]", "[bold]\x1b]0;title\x07"), (DIGEST, DIGEST)])
    page.pairs([("key [/k]", DIGEST * 4)])


def test_what_looks_like_markup_is_text() -> None:
    text = render(everything, io.StringIO())
    for words in ["[bold]path[/x]:smile: �[2J [red]styled[/]", "name [/h]", "out [/x]", "[bold]�]0;title�", "key [/k]"]:
        assert words in text
    assert "\x1b" not in text


def test_away_from_a_terminal_a_row_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    text = render(everything, io.StringIO())
    assert f"{DIGEST}   {DIGEST}\n" in text
    assert DIGEST * 4 in text
    assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("columns", ["30", "60", "200"])
def test_on_a_terminal_cells_fold_and_none_is_cut(terminal: Terminal, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = STYLE.sub("", render(lambda page: page.pairs([("digest", DIGEST * 4), ("target", "rpi4")]), terminal))
    assert all(len(line) <= int(columns) for line in text.splitlines())
    assert "".join(re.findall("[0-9a-f]{5,}", text)) == DIGEST * 4
    assert "…" not in text


def test_keys_and_values_have_no_head() -> None:
    assert render(lambda page: page.pairs([("a", "b")]), io.StringIO()) == "a  b\n"


def test_a_long_line_is_left_to_the_terminal(terminal: Terminal) -> None:
    """So that a path or a command that wraps can be copied whole."""
    assert render(lambda page: page.line("word " * 40 + "end"), terminal).count("\n") == 1


def test_colour_is_for_terminals_and_no_color_forbids_it(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def text(page: Page) -> None:
        page.line(("error:", "bold red"), " x")

    assert "31m" in render(text, terminal)
    assert "\x1b" not in render(text, io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in render(text, terminal)


def test_inspect_shows_a_hostile_bundle_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = msgspec.structs.replace(
        small_manifest(), outputs=(TensorSpec("out [/x]\x1b[2J", "int8", (1, 10)),), taints=("[bold]calibrated on\nfix: nothing",)
    )
    text, code = run(monkeypatch, "inspect", str(write_bundle(hostile, FILES, tmp_path)))
    assert code == 0
    assert "out [/x]�[2J int8 [1, 10]" in text
    assert "[bold]calibrated on fix: nothing" in text


def test_inspect_shows_the_whole_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text, _ = run(monkeypatch, "inspect", str(write_small_bundle(tmp_path)))
    assert re.search(r"^digest +[0-9a-f]{64}$", text, re.MULTILINE)


def test_a_report_shows_what_a_device_said_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report(
        bundle=BundleName("meter", "rpi4", "0" * 64),
        device=DeviceName("gate [/x]", "pi@gate", "0" * 64),
        simulated=True,
        measurements=(Measurement("invoke [bold]", 1.5, "ms", 3, False, "throttled"),),
        verdicts=(Verdict("latency", "invalid", "[/nothing] \x1b[2J"),),
        samples={},
        environment={"board": "Board [/y]"},
    )
    (tmp_path / "r.json").write_bytes(encode_report(report))
    text, code = run(monkeypatch, "report", str(tmp_path / "r.json"))
    assert code == 8
    for words in ["gate [/x]", "invoke [bold]", "INVALID latency: [/nothing] �[2J", "SIMULATED: Board [/y] stands in"]:
        assert words in text


def test_an_error_shows_its_words_as_they_are(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "inspect", "no [bold]\x1b[2J\nfix: rm it")[1] == 3
    said = capsys.readouterr().err
    assert "error: no [bold]�[2J\n  fix: rm it: no such bundle\nfix: edgekit build" in said
