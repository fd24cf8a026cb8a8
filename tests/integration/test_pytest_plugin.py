"""The pytest plugin, as a team's own tests use it: a session of pytest in a process of its own, against this machine as a board."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from edgekit.device import Address, Device
from tests.integration.command import edgekit
from tests.integration.conftest import free_port
from tests.integration.test_line import copy_demo
from tests.integration.trial import judged, project

pytest_plugins = ["pytester"]

TESTS = """
import unittest

import pytest

@pytest.mark.edgekit(probe="accuracy", budget={"accuracy_drop_max": 0.5})
def test_passes(edgekit_device, edgekit_bundle):
    assert edgekit_device.name == "b1"

@pytest.mark.edgekit(probe="accuracy")
def test_fails():
    raise AssertionError("the gate comes first")

@pytest.mark.edgekit(probe="accuracy", budget={"accuracy_drop_max": 0.015})
def test_lacks_samples():
    pass

@pytest.mark.edgekit(probe="accuracy", budget={"accuracy_drop_max": 0.5})
def test_own_words(edgekit_report, edgekit_bundle):
    assert edgekit_report.bundle.digest == edgekit_bundle.digest
    assert not edgekit_report.measurements, "and a test's own words fail it as ever"

@pytest.mark.edgekit(budgt={})
def test_misspelt():
    pass

def test_unmarked():
    pass

class TestOld(unittest.TestCase):
    @pytest.mark.edgekit(probe="accuracy")
    def test_of_unittest(self):
        pass
"""


def run(pytester: pytest.Pytester, folder: Path, *words: str) -> pytest.RunResult:
    (folder / "test_board.py").write_text(TESTS)
    own = ["-p", "no:cacheprovider", "-p", "edgekit.pytest_plugin", "--rootdir", str(folder), "-rA"]
    return pytester.runpytest_subprocess(*own, *words, str(folder / "test_board.py"))


def board(tmp_path: Path, address: str = "local") -> Device:
    return Device(name="b1", address=Address.parse(address), python=sys.executable, root=str(tmp_path / "root"))


def test_each_verdict_has_its_place(pytester: pytest.Pytester, tmp_path: Path) -> None:
    folder = project(tmp_path / "project", board(tmp_path))
    built = edgekit("build", "--target", "local", "--json", cwd=copy_demo(tmp_path / "demo")).document["bundle"]
    bundle = judged(Path(built), tmp_path / "bundle", "fail")
    result = run(pytester, folder, "--edgekit-device", "b1", "--edgekit-bundle", str(bundle), "--junit-xml", str(tmp_path / "j.xml"))
    assert result.parseoutcomes() == {"passed": 2, "failed": 3, "skipped": 1, "errors": 1}
    said = result.stdout.str()
    for words in ("accuracy fail: top-1 changed by -1.", "more samples are needed", "own words fail it as ever", "unknown key 'budgt'"):
        assert words in said, said
    assert "the gate comes first" not in said.split("short test summary")[1]
    cases = {case.attrib["name"]: case for case in ET.parse(tmp_path / "j.xml").iter("testcase")}
    figures = {one.attrib["name"]: one.attrib["value"] for one in cases["test_passes"].iter("property")}
    assert figures["accuracy.top1_float"] == "1"
    assert [child.tag for child in cases["test_misspelt"]] == ["error"]
    (app,) = edgekit("status", "b1", "--json", cwd=folder).document["apps"]
    assert (app["current"], app["releases"]) == (None, []), "the board is as it was"
    assert not (tmp_path / "root" / "lease.json").exists()


def test_no_board_skips_and_no_answer_is_an_error(pytester: pytest.Pytester, tmp_path: Path) -> None:
    folder = project(tmp_path / "project", board(tmp_path, f"me@127.0.0.1:{free_port()}"))
    nobody = run(pytester, folder)
    assert nobody.parseoutcomes() == {"passed": 1, "skipped": 6}
    assert "pytest --edgekit-device NAME" in nobody.stdout.str()
    away = run(pytester, folder, "--edgekit-device", "b1", "-k", "passes or unmarked")
    assert away.parseoutcomes() == {"passed": 1, "errors": 1, "deselected": 5}


def test_it_costs_nothing_where_it_is_not_used(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import sys\n\ndef test_light():\n    assert not {'msgspec', 'numpy', 'onnx', 'paramiko', 'click'} & set(sys.modules)\n"
    )
    result = pytester.runpytest_subprocess("-p", "edgekit.pytest_plugin", "--strict-markers", "-W", "error")
    assert result.parseoutcomes() == {"passed": 1}
