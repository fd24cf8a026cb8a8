"""``edgekit debug`` and ``edgekit inspect --ops`` as typed, on the demo: their text, document, picture and refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgekit.explanation import Explanation, Finding, Layer, Loss, Preprocessing, Variant
from edgekit.plan import Range
from tests.unit.cli.commands import run

DEMO = Path(__file__).resolve().parents[3] / "calibration" / "demo"
LAYER = Layer(
    place=0,
    name="conv [/x]",
    op="Conv",
    tensor="c",
    precision="int8",
    why="",
    range=Range(-1.5, 2.0, "mse"),
    seen=(-1.0, 3.0),
    saturation=0.0125,
    alone=Loss(21.0, 0.9961),
    whole=Loss(18.04, 0.99),
    gain_db=4.21,
)
EXPLANATION = Explanation(
    samples=32,
    outputs={"y": Loss(17.5, 0.98)},
    layers=(
        LAYER,
        *(
            LAYER.__class__(**{**{f: getattr(LAYER, f) for f in LAYER.__struct_fields__}, "place": n, "name": f"layer {n}"})
            for n in range(1, 20)
        ),
    ),
    findings=(
        Finding(
            "preprocessing", None, 'the float model scores 12% as declared, and 76% with color = "bgr"', 'color = "bgr" under [preprocess]'
        ),
        Finding("saturation", "conv [/x]", "70% of its error is cut off", 'method = "mse" under [calibration]'),
    ),
    preprocessing=Preprocessing(
        declared=Variant("", 24, 200), better=Variant('color = "bgr"', 152, 200), low=0.4, confidence=0.99, tried=11
    ),
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("build"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def explained(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose explanation is ready made."""
    monkeypatch.setattr("edgekit.pipeline.debug.debug", lambda *_, **__: EXPLANATION)
    return project


def test_what_people_read(explained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, code = run(monkeypatch, "debug", "--target", "rpi4")
    assert code == 0
    lines = text.splitlines()
    assert lines[0] == "meter-digits for rpi4, 32 samples; y: 17.5 dB, cosine 0.9800"
    row = next(line for line in lines if line.startswith("conv [/x]"))
    assert row.split()[2:] == ["Conv", "int8", "-1.5..2", "mse", "1.250%", "21.0", "0.9961", "18.0", "0.9900", "+4.2"]
    assert "... and 5 layers that lose less alone: --json and --plot have them" in lines
    assert "preprocessing: the float model scores 12% of 200 samples as declared; another way is better" in lines
    at = lines.index("saturation conv [/x]: 70% of its error is cut off")
    assert lines[at + 1] == '  fix: method = "mse" under [calibration]'
    assert lines.index('preprocessing: the float model scores 12% as declared, and 76% with color = "bgr"') < at


def test_the_document_holds_all(explained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = document(monkeypatch, "debug", "--target", "rpi4")
    assert (found["schema"], found["ok"], found["name"], found["target"], found["plot"]) == (
        "edgekit.debug/1",
        True,
        "meter-digits",
        "rpi4",
        None,
    )
    told = found["explanation"]
    assert len(told["layers"]) == 20
    assert told["layers"][0]["alone"] == {"sqnr_db": 21.0, "cosine": 0.9961}
    assert told["findings"][1]["layer"] == "conv [/x]"
    assert told["preprocessing"]["better"]["settings"] == 'color = "bgr"'


def test_the_picture(explained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, code = run(monkeypatch, "debug", "--target", "rpi4", "--plot", "layers.svg")
    assert code == 0
    assert "plot  layers.svg" in text
    picture = (explained / "layers.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg ")
    assert picture.count("<circle") == 20


def document(monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(monkeypatch, *words, "--json")[0])
    return found


@pytest.mark.parametrize(
    ("words", "code", "said", "fix"),
    [
        (("debug",), 2, "which target", "--target rpi4"),
        (("debug", "--target", "rpi44"), 2, "no target is called", "did you mean 'rpi4'"),
        (("debug", "--target", "rpi4", "--samples", "0"), 2, "--samples", "edgekit debug --help"),
        (("debug", "--target", "rpi4", "--plot", "layers.png"), 2, "--plot writes SVG", "--plot layers.svg"),
        (("debug", "nothing.onnx", "--target", "rpi4"), 3, "nothing.onnx", ""),
        (("debug", "nothing.edge"), 3, "no such bundle", "edgekit build"),
        (("debug", "evaluation.npz", "--target", "rpi4"), 3, "evaluation.npz", ""),
        (("inspect", "--ops", "demo.onnx"), 2, "for which target", "--target rpi4"),
        (("inspect", "--ops", "nothing.onnx", "--target", "rpi4"), 3, "nothing.onnx", ""),
        (("inspect", "--ops", "--verify", "demo.onnx", "--target", "rpi4"), 2, "--verify is about a bundle", ""),
        (("inspect", "--ops", "net.edge", "--target", "rpi4"), 3, "before it is built", "edgekit debug net.edge"),
        (("inspect", "demo.onnx", "--target", "rpi4"), 2, "goes with --ops", "edgekit inspect --ops demo.onnx"),
    ],
)
def test_mistakes(words: tuple[str, ...], code: int, said: str, fix: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = document(monkeypatch, *words)["error"]
    assert error["exit_code"] == code
    assert said in error["message"]
    assert fix in (error["fix"] or "")


def test_outside_any_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = document(monkeypatch, "debug", "--target", "rpi4")["error"]
    assert (error["exit_code"], error["message"]) == (3, "no model")
    assert "[model]" in error["fix"]
    error = document(monkeypatch, "debug", str(DEMO / "demo.onnx"), "--target", "rpi4")["error"]
    assert error["exit_code"] == 3
    assert "no calibration set" in error["message"]


def test_operators_before_building(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = document(monkeypatch, "inspect", "--ops", "demo.onnx", "--target", "rpi4")
    assert (found["schema"], found["ok"], found["target"]) == ("edgekit.inspect/1", True, "rpi4")
    assert set(found["totals"]) == {"int8"}
    assert found["totals"]["int8"]["nodes"] == len(found["operations"])
    assert found["totals"]["int8"]["macs"] == sum(one["macs"] for one in found["operations"]) > 1_000_000
    text, code = run(monkeypatch, "inspect", "--ops", "demo.onnx", "--target", "rpi4")
    assert code == 0
    assert "% of 1.77 million multiply-accumulates" in text.splitlines()[-1]


def test_what_cannot_be_computed_ends_in_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    text = '<ir_version: 8, opset_import: ["": 17]> net (float[1,4] x) => (float[1,4] y) { a = Relu(x) b = Atanh(a) y = Abs(b) }'
    onnx.save(onnx.parser.parse_model(text), project / "net.onnx")
    found = document(monkeypatch, "inspect", "--ops", "net.onnx", "--target", "rpi4")
    assert found["ok"] is False
    assert found["totals"]["unsupported"] == {"nodes": 1, "macs": 0}
    (unsupported,) = [one for one in found["operations"] if one["precision"] is None]
    assert (unsupported["name"], unsupported["op"]) == ("b", "Atanh")
    text, code = run(monkeypatch, "inspect", "--ops", "net.onnx", "--target", "rpi4")
    assert code == 1
    assert "unsupported  1 nodes" in text
    assert f"fix: {unsupported['fix']}" in text
