"""The gates on a board behind a real sshd, with the shipped demo: where a loss comes from, and whether a release is slower."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest

from edgekit.bundle import open_bundle, write_bundle
from edgekit.device import Device
from tests.integration.command import Said, edgekit
from tests.integration.deployment import place
from tests.integration.test_line import copy_demo, project_for

pytestmark = pytest.mark.sshd

# A board on which something is not as on the host: what its Python imports first.
TAMPERED = {
    # Its preprocessing takes too little off.
    "preprocessing": "import numpy\ngenuine = numpy.subtract\nnumpy.subtract = lambda a, b, out: genuine(a, 0.2 * b, out=out)\n",
    # It turns real values into whole ones otherwise.
    "rounding": "import numpy\nnumpy.rint = lambda value: numpy.floor(value) - 30\n",
    # Its kernels answer something else now and then.
    "kernels": "import numpy\nfrom ai_edge_litert.interpreter import Interpreter\ngenuine = Interpreter.get_tensor\n"
    "def get_tensor(self, index):\n"
    "    found = genuine(self, index)\n"
    "    return numpy.roll(found, 1) if int(found.astype(int).sum()) % 5 == 0 else found\n"
    "Interpreter.get_tensor = get_tensor\n",
}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The demo built for this machine, and a release of the same artifact with another budget."""
    folder = copy_demo(tmp_path_factory.mktemp("built") / "demo")
    said = edgekit("build", "--target", "local", "--json", cwd=folder)
    assert said.code == 0, said
    first = Path(said.document["bundle"])
    with open_bundle(first) as bundle:
        files = {entry.path: bundle.read(entry.path) for entry in bundle.manifest.files}
        budget = msgspec.structs.replace(bundle.manifest.budget, latency_p99_ms=60_000.0)
        second = write_bundle(msgspec.structs.replace(bundle.manifest, budget=budget), files, first.parent)
    return first, second


@pytest.fixture
def project(board: Device, tmp_path: Path, bundles: tuple[Path, Path]) -> Path:
    folder = project_for(board, tmp_path / "project")
    said = edgekit("deploy", "--bundle", str(bundles[0]), cwd=folder)
    assert said.code == 0, said
    return folder


def tamper(folder: Path, kind: str) -> None:
    """Let the board's Python import something before all else."""
    shim = folder / kind
    shim.mkdir()
    (shim / "sitecustomize.py").write_text(TAMPERED[kind])
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={shim} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    config = folder / "edgekit.toml"
    config.write_text(config.read_text().replace(f'python = "{sys.executable}"', f'python = "{python}"'))


def steps(said: Said) -> dict[str, int]:
    assert said.code == 0, said
    return {step["name"]: step["changed"] for step in said.document["attribution"]["steps"]}


def test_an_honest_board_changes_nothing(project: Path, bundles: tuple[Path, Path]) -> None:
    said = edgekit("compare", "--json", cwd=project)
    told = said.document["attribution"]
    assert (told["n"], told["fed_otherwise"]) == (1000, 0)
    found = steps(said)
    assert (found["kernels"], found["preprocessing"], found["total"]) == (0, 0, found["quantization"])
    right = {score["name"]: score["right"] for score in told["scores"]}
    assert right["int8-host"] == right["int8-device"]
    assert len(told["changed"]) == found["quantization"]
    assert said.document["notes"] == []

    text = edgekit("compare", "--bundle", str(bundles[0]), cwd=project)
    assert text.code == 0, text
    assert "the board fed the network the same bytes as this host on all 1000 samples" in text.out
    edgekit("compare", "--bundle", str(bundles[1]), cwd=project).refused(2, "is not there", "edgekit deploy --bundle")
    config = project / "edgekit.toml"
    config.write_text(config.read_text().replace('dataset = "evaluation.npz"', 'dataset = "evaluation.npz"\nsamples = 10'))
    edgekit("compare", cwd=project).refused(3, "is not the evaluation set")


def test_what_is_wrong_on_the_board_is_named(project: Path) -> None:
    for kind in TAMPERED:
        tamper(project, kind)
        said = edgekit("compare", "--json", cwd=project)
        found, told = steps(said), said.document["attribution"]
        guilty, innocent = ("kernels", "preprocessing") if kind == "kernels" else ("preprocessing", "kernels")
        assert found[guilty] > 0, kind
        assert found[innocent] == 0, kind
        moved = [one for one in told["changed"] if guilty in one["causes"]]
        assert len(moved) == found[guilty], kind
        assert all(one["int8_device"] != one["int8_host"] and one["fed_alike"] is (kind == "kernels") for one in moved), kind
        assert (told["fed_otherwise"] > 0) == (kind != "kernels"), kind
        even_so = "the board turns even the host's values into other inputs"
        assert any(even_so in note for note in said.document["notes"]) == (kind == "rounding"), kind
        lost = {step["name"]: step["losses"] for step in told["steps"]}
        assert lost["total"] >= lost[guilty] > 0, kind


def test_a_release_is_held_against_the_one_before(project: Path, bundles: tuple[Path, Path]) -> None:
    alone = edgekit("probe", "regression", "--json", cwd=project)
    assert (alone.code, alone.document["report"]["verdicts"][0]["outcome"]) == (8, "inconclusive"), "there is nothing to hold it against"
    assert edgekit("deploy", "--bundle", str(bundles[1]), cwd=project).code == 0
    edgekit("probe", "regression", "--against", "000000", cwd=project).refused(2, "no release there is '000000'")
    said = edgekit("probe", "regression", "--threshold", "1", "--min-time", "0.1", "--json", cwd=project)
    report = json.loads(Path(said.document["path"]).read_text())
    (verdict,) = report["verdicts"]
    # The same artifact twice is not twice as slow; on a machine that is busy with other tests the board's rules say so first.
    assert (verdict["outcome"], said.code) in {("pass", 0), ("invalid", 8)}, verdict
    series = {name: len(values) for name, values in report["samples"].items()}
    assert set(series) >= {"regression_invoke_ns", "regression_other_invoke_ns"}
    assert len(set(series.values())) == 1
    assert min(series.values()) >= 1000
    ratio = next(m for m in report["measurements"] if m["name"] == "regression_ratio")
    assert 0.5 < ratio["value"] < 2
    assert report["environment"]["against"] == bundles[0].stem.rpartition("-")[2] + report["environment"]["against"][12:]


def test_a_slower_release_is_measured_twice_before_it_is_red(board: Device, tmp_path: Path) -> None:
    """On a stand-in for the runtime that takes as many milliseconds as the model's number says."""
    here = place(board, tmp_path / "place")
    runtime = here.root / "runtimes" / "current" / "ai_edge_litert" / "interpreter.py"
    slow = "    def invoke(self):\n        import time\n        time.sleep(0.001 * int(self.number - 48))\n"
    runtime.write_text(runtime.read_text().replace("    def invoke(self):\n", slow))
    here.project()
    for number in (1, 2):
        said = edgekit("deploy", "--bundle", here.bundle(number), cwd=here.folder)
        assert said.code == 0, said
    said = edgekit("probe", "regression", "--min-time", "0.1", "--min-count", "160", "--json", cwd=here.folder)
    report = json.loads(Path(said.document["path"]).read_text())
    (verdict,) = report["verdicts"]
    assert (verdict["outcome"], said.code) in {("fail", 1), ("invalid", 8)}, verdict  # invalid on a machine that is busy with other tests
    ratios = {m["name"]: m["value"] for m in report["measurements"] if m["name"].endswith("ratio")}
    assert set(ratios) == {"regression_ratio", "regression_again_ratio"}
    assert all(1.2 < ratio < 3 for ratio in ratios.values())
