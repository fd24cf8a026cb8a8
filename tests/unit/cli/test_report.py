"""``edgekit report``: several files, where their pages go, and what it ends in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgekit.pages.saved import SavedComparison, SavedExplanation, SavedReport
from edgekit.report import encode_report
from tests.unit.cli.commands import run
from tests.unit.pages.reports import accuracy_report, build_report, comparison, explanation, latency_report

ROOT = Path(__file__).resolve().parents[3]


def save(folder: Path, *saved: SavedReport | SavedExplanation | SavedComparison) -> list[str]:
    """Write files as edgekit itself does, and return their paths."""
    paths = [folder / f"{Path(one.name).stem}.json" for one in saved]
    for path, one in zip(paths, saved, strict=True):
        if isinstance(one, SavedReport):
            path.write_bytes(encode_report(one.report))
        elif isinstance(one, SavedComparison):
            path.write_text(json.dumps({"schema": "edgekit.compare/1", "ok": True, **msgspec.to_builtins(one.comparison)}))
        else:
            said = {"schema": "edgekit.debug/1", "ok": True, "name": one.network, "target": one.target, "plot": None}
            path.write_text(json.dumps({**said, "explanation": msgspec.to_builtins(one.explanation)}))
    return list(map(str, paths))


@pytest.mark.parametrize(
    ("saved", "code"),
    [
        ([build_report()], 0),
        ([build_report(), accuracy_report()], 8),
        ([accuracy_report(), latency_report(50)], 1),
        ([latency_report(50, rule="throttled")], 8),
        ([explanation()], 0),
    ],
)
def test_it_ends_as_the_gravest_verdict_says(saved: list[Any], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "report", *save(tmp_path, *saved))[1] == code


def test_text_and_document_hold_all_files_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = save(tmp_path, accuracy_report(), explanation(), comparison())
    text, _ = run(monkeypatch, "report", *paths)
    places = [text.index(word) for word in ("INCONCLUSIVE accuracy", "outlier-channel /backbone/layers.0/conv/Conv", "int8-device")]
    assert places == sorted(places)
    document = json.loads(run(monkeypatch, "report", *paths, "--json")[0])
    kinds = ("report", "explanation", "comparison")
    wanted = [(path, {kind}) for path, kind in zip(paths, kinds, strict=True)]
    assert [(one["path"], set(one) - {"path"}) for one in document["reports"]] == wanted


def test_markdown_goes_where_the_text_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, code = run(monkeypatch, "report", *save(tmp_path, accuracy_report()), "--markdown")
    assert (text.splitlines()[0][:16], text.count("\n| "), code) == ("### meter-digits", text.count("\n|"), 8)


def test_pages_and_pictures_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jinja2", reason="pip install 'edgekit[report]'")
    pytest.importorskip("matplotlib", reason="pip install 'edgekit[report]'")
    paths = save(tmp_path, latency_report(300), accuracy_report())
    page, picture, drawing = (tmp_path / name for name in ("page.html", "plot.png", "plot.SVG"))
    text, code = run(monkeypatch, "report", *paths, "--html", str(page), "--plot", str(picture))
    assert code == 1
    assert f"page  {page}\nplot  {picture}\n" in text
    assert page.read_bytes().startswith(b"<!DOCTYPE html>")
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = picture.read_bytes()
    document = json.loads(run(monkeypatch, "report", *paths, "--plot", str(drawing), "--json")[0])
    assert (document["html"], document["plot"]) == (None, str(drawing))
    assert "<svg" in drawing.read_text()
    run(monkeypatch, "report", *paths, "--plot", str(picture))
    assert picture.read_bytes() == again


def test_a_picture_is_asked_for_by_a_known_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "report", *save(tmp_path, accuracy_report()), "--plot", "a.pdf")[1] == 2
    assert "fix: --plot report.png" in capsys.readouterr().err


def test_the_output_is_one_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    text, code = run(monkeypatch, "report", "no.json", "--markdown", "--json")
    assert (json.loads(text)["error"]["kind"], code) == ("usage", 2)


def test_nothing_is_drawn_of_a_report_without_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "report", *save(tmp_path, accuracy_report()), "--plot", str(tmp_path / "a.png"))[1] == 3
    assert "no raw series to draw" in capsys.readouterr().err


def bare(*words: str) -> subprocess.CompletedProcess[str]:
    """Run ``edgekit WORDS`` in a process that finds neither Jinja2 nor matplotlib."""
    code = "import sys; sys.modules.update(jinja2=None, matplotlib=None); from edgekit.__main__ import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(("flag", "name", "package"), [("--html", "a.html", "jinja2"), ("--plot", "a.svg", "matplotlib")])
def test_without_the_extra_it_says_what_to_install(flag: str, name: str, package: str, tmp_path: Path) -> None:
    done = bare("report", *save(tmp_path, latency_report(50)), flag, str(tmp_path / name))
    assert done.returncode == 3
    assert package in done.stderr
    assert "fix: pip install 'edgekit[report]'" in done.stderr
    assert not (tmp_path / name).exists()


def test_what_needs_no_extra_loads_none(tmp_path: Path) -> None:
    done = bare("report", *save(tmp_path, build_report()), "--markdown")
    assert (done.returncode, done.stdout[:3]) == (0, "###"), done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "r.json: "),
        ('{"schema": "edgekit.debug/1"}', "r.json: "),
        ('{"schema": "edgekit.probe-latency/1", "ok": true}', "r.json: "),
        ("[" * 100_000, "r.json: "),
        ("\x00", "not valid JSON"),
    ],
)
def test_what_is_no_report_is_refused(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.json").write_text(text)
    assert run(monkeypatch, "report", str(tmp_path / "r.json"))[1] == 3
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("number", ["9" * 400, "-" + "9" * 40, "1e200"])
@pytest.mark.parametrize("place", ['"budget_ms": 14.0', '"n": 50', '"drift": -0.004'])
def test_figures_beyond_all_bounds_are_refused(
    number: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = save(tmp_path, latency_report(50))
    key = place.partition(":")[0]
    text = Path(path).read_text().replace(place.replace(": ", ":"), f"{key}:{number}")
    assert number in text
    Path(path).write_text(text)
    assert run(monkeypatch, "report", path)[1] == 3
    assert "r.json" in capsys.readouterr().err.replace("latency.json", "r.json")
