"""The history: what is kept, several writers at once, a disk that is full, and the forms of others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest

from edgekit.cli.trend import trend, trend_chart
from edgekit.errors import InputError
from edgekit.measurement import Measurement
from edgekit.pipeline.export import export, left_out
from edgekit.pipeline.history import Point, points, record
from edgekit.runs.run import Run, Step
from tests.unit.cli.commands import run as edgekit
from tests.unit.runs.test_junit import BROKEN, run_of

SVG = "{http://www.w3.org/2000/svg}"
P99 = Measurement("invoke_p99", 1.25, "ms", 700, details={"lower_ms": 1.2, "upper_ms": 1.5})
TOP1 = Measurement("top1_artifact", 0.985, "1", 1000, details={"low": 0.97, "high": 0.99})


def measured(value: float = 1.25, *, simulated: bool = False, device: str = "rack-1", minute: int = 0, **fields: Any) -> Run:
    p99 = msgspec.structs.replace(P99, value=value)
    steps = (
        Step(name="latency", probe=True, measurements=(p99, BROKEN), simulated=simulated),
        Step(name="accuracy", probe=True, measurements=(TOP1,), simulated=simulated),
    )
    return run_of(*steps, device=device, time=f"2026-11-24T18:{minute:02}:00+00:00", **fields)


def test_figures_come_back_in_order_with_their_bounds_and_marks(tmp_path: Path) -> None:
    path = tmp_path / "state" / "history.sqlite"
    assert points(None, None, None, runs=9, path=path) == ()
    for minute, value in enumerate((1.0, 2.0, 3.0)):
        record(measured(value, minute=minute), path)
    record(measured(9.0, device="rack-2"), path)
    record(run_of(Step(name="lease", code=5, error="DeviceError", message="away")), path)
    found = points("meter", "rack-1", "latency.invoke_p99", runs=2, path=path)
    assert [(point.value, point.low, point.high, point.unit, point.n, point.rule) for point in found] == [
        (2.0, 1.2, 1.5, "ms", 700, None),
        (3.0, 1.2, 1.5, "ms", 700, None),
    ]
    assert {point.metric for point in points(None, None, "latency", runs=9, path=path)} == {"latency.invoke_p99", "latency.invoke_p50"}
    assert [point.rule for point in points(None, "rack-2", "latency.invoke_p50", runs=9, path=path)] == ["throttled"]
    assert len(points(None, None, None, runs=9, path=path)) == 4 * 3
    assert points("other", None, None, runs=9, path=path) == ()
    assert path.stat().st_mode & 0o777 == 0o600


WRITER = """
import sys
from pathlib import Path
from edgekit.pipeline.history import record
from tests.unit.pipeline.test_history import measured
for number in range(20):
    record(measured(float(number), device=sys.argv[2]), Path(sys.argv[1]))
"""


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    words = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*words, f"rack-{number}"], cwd=Path(__file__).parents[3]) for number in range(3)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    found = points(None, None, "latency.invoke_p99", runs=100, path=path)
    assert sorted(point.value or 0.0 for point in found) == sorted([float(number) for number in range(20)] * 3)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "history.sqlite"
    path.write_bytes(b"no database, but long enough for a header of one" * 40)
    with pytest.raises(InputError, match=r"history\.sqlite: the history cannot be written: file is not a database"):
        record(measured(), path)
    with pytest.raises(InputError, match="cannot be read"):
        points(None, None, None, runs=1, path=path)
    link = tmp_path / "link.sqlite"
    link.symlink_to(path)
    with pytest.raises(InputError, match=r"link\.sqlite: cannot be opened"):
        record(measured(), link)


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk of its own needs root and unshare")
def test_a_full_disk(tmp_path: Path) -> None:
    """In a mount namespace of its own, so that nothing stays mounted."""
    code = WRITER.replace("range(20)", "range(10_000)")
    words = f'mount -t tmpfs -o size=64k none {tmp_path} && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", words, "sh", sys.executable, "-c", code, str(tmp_path / "history.sqlite"), "rack-1"]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=120)
    if "mount:" in done.stderr:
        pytest.skip("no file system may be mounted here")
    assert "InputError" in done.stderr, done
    assert "the history cannot be written: database or disk is full" in done.stderr


POINT = Point(
    run="r", time="t", app="a", device="d", release=None, revision=None, code=0, metric="m", value=0.0, unit="ms", n=1, low=None,
    high=None, rule=None, simulated=False,
)  # fmt: skip


def test_a_file_that_nothing_was_written_to(tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").touch()
    assert points(None, None, None, runs=1, path=tmp_path / "history.sqlite") == ()


@pytest.fixture
def kept(home: Path) -> None:
    record(measured(1.0, minute=1))
    record(measured(2.0, minute=2))
    record(measured(7.0, minute=3, device="qemu", simulated=True))


def found() -> tuple[Point, ...]:
    return points(None, None, None, runs=40)


@pytest.mark.usefixtures("kept")
def test_others_get_the_newest_valid_figures() -> None:
    (latency,) = export(found(), "github-action-benchmark", simulated=False)
    assert isinstance(latency, dict)
    assert {key: latency[key] for key in ("name", "unit", "value", "range")} == {
        "name": "meter/rack-1/latency.invoke_p99",
        "unit": "ms",
        "value": 2.0,
        "range": "1.2 .. 1.5",
    }
    (accuracy,) = export(found(), "github-action-benchmark-bigger", simulated=False)
    assert isinstance(accuracy, dict)
    assert accuracy["name"] == "meter/rack-1/accuracy.top1_artifact"
    assert export(found(), "bencher", simulated=False) == {
        "meter on rack-1": {
            "latency-invoke-p99-ms": {"value": 2.0, "lower_value": 1.2, "upper_value": 1.5},
            "accuracy-top1-artifact": {"value": 0.985, "lower_value": 0.97, "upper_value": 0.99},
        }
    }
    assert left_out(found(), simulated=False) == (
        "2 figures are not valid (throttled); 2 come from a device that stands in for a board (--simulated)"
    )


@pytest.mark.parametrize(
    ("figure", "unit", "form"),
    [
        ("wer_artifact", "1", "github-action-benchmark"),
        ("cer_delta", "1", "github-action-benchmark"),
        ("changed", "1", "github-action-benchmark"),
        ("disagreement", "1", "github-action-benchmark"),
        ("agreement_host", "1", "github-action-benchmark-bigger"),
        ("top1_delta", "1", "github-action-benchmark-bigger"),
        ("temperature_max", "degC", None),
    ],
)
def test_which_way_is_better(figure: str, unit: str, form: str | None) -> None:
    """A figure of which nobody can say is in no file, and said to be left out."""
    (one,) = [msgspec.structs.replace(POINT, metric=f"accuracy.{figure}", unit=unit)]
    for name in ("github-action-benchmark", "github-action-benchmark-bigger"):
        if name == form:
            assert export([one], name, simulated=False)
        else:
            with pytest.raises(InputError, match="nothing to export"):
                export([one], name, simulated=False)
    assert left_out([one], simulated=False) == ("" if form else f"1 are neither better when less nor when more (accuracy.{figure})")


@pytest.mark.usefixtures("kept")
def test_what_is_simulated_says_so() -> None:
    handed = export(found(), "bencher", simulated=True)
    assert set(handed) == {"meter on rack-1", "meter on qemu (simulated)"}


@pytest.mark.usefixtures("kept")
def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text, code = edgekit(monkeypatch, "history", "--metric", "latency.invoke_p99")
    assert code == 0
    assert "▁█" in text
    assert "7 ms (simulated)" in text
    text, code = edgekit(monkeypatch, "history", "meter", "--export", "bencher")
    assert code == 0
    assert set(msgspec.json.decode(text)) == {"meter on rack-1"}
    assert "left out: 2 figures are not valid (throttled); 2 come from" in capsys.readouterr().err
    text, code = edgekit(monkeypatch, "history", "--device", "nobody", "--export", "bencher")
    assert (text, code) == ("", 3)
    text, code = edgekit(monkeypatch, "history", "--device", "nobody")
    assert "nothing was measured here yet" in text


def test_a_trend_marks_what_does_not_count() -> None:
    values = ((0.0, None), (7.0, None), (99.0, "busy"), (3.5, None))
    course = [msgspec.structs.replace(POINT, value=value, rule=rule) for value, rule in values]
    assert trend(course, 9) == "▁█·▅"
    assert trend(course, 2) == "·▅"
    assert trend(course[2:3], 9) == "·"
    assert trend([POINT, POINT], 9) == "▅▅"


@pytest.mark.usefixtures("kept")
def test_the_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    record(measured(2.0, minute=4, revision="<b>&"))
    path = tmp_path / "course.svg"
    text, code = edgekit(monkeypatch, "history", "meter", "--metric", "latency", "--plot", str(path), "--json")
    assert (code, msgspec.json.decode(text)["plot"]) == (0, str(path))
    svg = ET.parse(path).getroot()
    marks = {kind: [one for one in svg.iter(f"{SVG}circle") if (one.get("fill") == "white") == kind] for kind in (True, False)}
    assert {kind: len(found) for kind, found in marks.items()} == {True: 4, False: 4}, "a hollow mark for each that is not valid"
    words = [one.text or "" for one in svg.iter() if one.text]
    assert any("<b>&" in word for word in words)
    assert "latency.invoke_p99, ms: meter on qemu (simulated)" in words
    assert trend_chart({}).startswith("<svg")
    assert edgekit(monkeypatch, "history", "--plot", "course.png")[1] == 2
