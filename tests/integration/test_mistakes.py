"""What a newcomer does wrong: one clear error each, no traceback, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.integration.command import DEMO, edgekit


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("build"))
    return folder


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def edit(project: Path, old: str, new: str) -> None:
    toml = project / "edgekit.toml"
    text = toml.read_text()
    assert old in text
    toml.write_text(text.replace(old, new))


def misspell_a_key(project: Path) -> None:
    edit(project, "[calibration]\ndataset", "[calibration]\ndatset")


def text_as_model(project: Path) -> None:
    (project / "demo.onnx").write_text("this is no model\n")


def truncated_model(project: Path) -> None:
    model = project / "demo.onnx"
    model.write_bytes(model.read_bytes()[:5000])


def empty_model(project: Path) -> None:
    (project / "demo.onnx").write_bytes(b"")


def one_unreadable_image(project: Path) -> None:
    images = project / "images"
    images.mkdir()
    with np.load(project / "calibration.npz") as archive:
        for number, image in enumerate(archive["x"][:5]):
            Image.fromarray(image).save(images / f"{number}.png")
    (images / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    edit(project, 'dataset = "calibration.npz"', 'dataset = "images"')


def no_calibration(project: Path) -> None:
    edit(project, 'dataset = "calibration.npz"', "")


def overlap(project: Path) -> None:
    edit(project, 'dataset = "calibration.npz"', 'dataset = "evaluation.npz"\nsamples = 10')


def wrong_size(project: Path) -> None:
    edit(project, "[preprocess]", "[preprocess]\nresize = [48, 48]")


def wrong_layout(project: Path) -> None:
    edit(project, 'layout = "nchw"', 'layout = "nhwc"')


def three_means_for_gray(project: Path) -> None:
    edit(project, "[preprocess]", '[preprocess]\ncolor = "gray"')


MISTAKES: list[tuple[Callable[[Path], None] | None, tuple[str, ...], int, tuple[str, ...]]] = [
    (None, ("build", "--target", "rpi9"), 2, ("rpi9", "did you mean")),
    (None, ("build",), 2, ("which target",)),
    (None, ("build", "--target", "rpi4", "--model", "dmeo.onnx"), 3, ("dmeo.onnx", "demo.onnx")),
    (None, ("build", "--target", "rpi4", "--model", "."), 3, ("fix:",)),
    (None, ("build", "--target", "rpi4", "--project", "no.toml"), 3, ("no.toml",)),
    (text_as_model, ("build", "--target", "rpi4"), 3, ("demo.onnx",)),
    (truncated_model, ("build", "--target", "rpi4"), 3, ("demo.onnx",)),
    (empty_model, ("build", "--target", "rpi4"), 3, ("demo.onnx",)),
    (one_unreadable_image, ("build", "--target", "rpi4"), 3, ("images/3.png", "not a readable image")),
    (misspell_a_key, ("build", "--target", "rpi4"), 3, ("calibration.datset", "did you mean 'dataset'")),
    (no_calibration, ("build", "--target", "rpi4"), 3, ("no calibration set", "--allow-random")),
    (overlap, ("build", "--target", "rpi4"), 3, ("share 10 samples",)),
    (wrong_size, ("build", "--target", "rpi4"), 3, ("[1, 3, 48, 48]", "[1, 3, 32, 32]")),
    (wrong_layout, ("build", "--target", "rpi4"), 3, ("[1, 32, 32, 3]", "layout")),
    (three_means_for_gray, ("build", "--target", "rpi4"), 3, ("preprocess",)),
    (None, ("deploy", "local"), 3, ("no bundle", "edgekit build")),
    (None, ("deploy",), 2, ("which device",)),
    (None, ("inspect", "nothing.edge"), 3, ("no such bundle",)),
    (None, ("inspect", "demo.onnx"), 3, ("demo.onnx",)),
    (None, ("report", "nothing.json"), 3, ("nothing.json",)),
    (None, ("report", "edgekit.toml"), 3, ("edgekit.toml",)),
    (None, ("biuld",), 2, ("did you mean 'build'",)),
    (None, ("device", "fcats"), 2, ("did you mean 'facts'",)),
    (None, ("build", "--trget", "rpi4"), 2, ("--target", "edgekit build --help")),
    (None, ("probe", "latency", "local", "--report", "demo.onnx/r.json"), 3, ("demo.onnx", "--report")),
    (None, ("targets", "show", "rpi44"), 2, ("did you mean 'rpi4'",)),
]


@pytest.mark.parametrize(("break_it", "words", "code", "said"), MISTAKES)
def test_one_clear_error(
    project: Path, break_it: Callable[[Path], None] | None, words: tuple[str, ...], code: int, said: tuple[str, ...]
) -> None:
    if break_it:
        break_it(project)
    before = files(project)
    result = edgekit(*words, cwd=project)
    result.refused(code, *said)
    assert result.out == ""
    assert files(project) == before, "nothing half-written"


def test_json_holds_one_document_on_failure_too(project: Path) -> None:
    said = edgekit("build", "--target", "rpi9", "--json", cwd=project)
    assert said.code == 2
    assert said.document["schema"] == "edgekit.build/1"
    assert said.document["ok"] is False
    assert (said.document["error"]["kind"], said.document["error"]["exit_code"]) == ("usage", 2)
    assert "rpi9" in said.document["error"]["message"]
    assert said.document["error"]["message"] in said.err


def test_random_calibration_taints_the_bundle(project: Path) -> None:
    no_calibration(project)
    said = edgekit("build", "--target", "rpi4", "--allow-random", "--json", cwd=project)
    assert said.document["taints"] == ["calibrated on random data"]
    shown = edgekit("inspect", said.document["bundle"], cwd=project)
    assert "calibrated on random data" in shown.out


@pytest.mark.parametrize(("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")])
def test_a_signal_leaves_nothing_behind(project: Path, tmp_path: Path, number: signal.Signals, code: int, word: str) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    before = files(project)
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit", "build", "--target", "rpi4", "--output", "out", "--json"],
        cwd=project,
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(scratch.iterdir()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)  # into the work that has just begun
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, (out, err)
    error = json.loads(out)["error"]
    # It depends on when the signal came whether there is anything to go on with.
    assert error.pop("fix") is None or "--resume goes on there" in out
    assert error == {"kind": "interrupted", "message": word, "exit_code": code}
    assert err.splitlines()[0] == f"error: {word}"
    assert "Traceback" not in err
    assert files(project) == before
    assert list(scratch.iterdir()) == []


def test_options_from_the_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_BUILD_TARGET", "rpi4")
    monkeypatch.setenv("EDGEKIT_BUILD_MODEL", "dmeo.onnx")
    monkeypatch.setenv("EDGEKIT_BUILD_JSON", "true")
    said = edgekit("build", cwd=project)
    said.refused(3, "dmeo.onnx")
    assert said.document["error"]["kind"] == "input"


def test_a_forgotten_scale_builds_with_a_warning_that_names_it(project: Path) -> None:
    edit(project, "scale = 0.00392156862745098\n", "")
    said = edgekit("build", "--target", "local", "--json", "--max-trials", "0", cwd=project)
    (note,) = said.document["notes"]
    assert "scale = 0.00392156862745098" in note
    assert "check [preprocess]" in note


def test_a_right_one_builds_without(project: Path) -> None:
    said = edgekit("build", "--target", "local", "--json", cwd=project)
    assert (said.code, said.document["notes"]) == (0, [])


@pytest.mark.parametrize("value", ["0", "1", "-0.1", "lots"])
def test_a_budget_is_a_fraction(project: Path, value: str) -> None:
    edgekit("build", "--target", "local", "--accuracy-drop-max", value, cwd=project).refused(2, "--accuracy-drop-max")
