"""Engine builds that are cut off, killed, refused or interrupted, over a real sshd. TensorRT is a double (``tests/standin``)."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.integration.command import Said, edgekit
from tests.integration.conftest import Lab
from tests.integration.engine import Bench, EngineBoard, Running, start, until

pytestmark = pytest.mark.sshd

BUILD = ("build", "--target", "host-gpu", "--device", "orin", "--precision", "mixed", "--json")


@pytest.fixture
def bench(lab: Lab, tmp_path: Path) -> Bench:
    return Bench(lab, tmp_path)


@pytest.fixture
def gated(bench: Bench) -> EngineBoard:
    return bench.board("orin", gated=True)


def cut_in_mid_build(running: Running, gated: EngineBoard) -> Said:
    """Cut a command's link while its board builds, let it come again, and return what the command says at its end."""
    until(lambda: gated.builds, "the build begins")
    before = gated.connections
    gated.cut()
    until(lambda: gated.connections > before, "the link is made again")
    gated.gate.touch()
    said = running.end()
    assert said.code == 0, said
    assert len(gated.builds) == 1, "nobody began again"
    return said


def test_a_link_cut_in_mid_build_is_made_again_and_the_build_goes_on(bench: Bench, gated: EngineBoard) -> None:
    said = cut_in_mid_build(start(*BUILD, cwd=bench.project), gated)
    assert said.document["engine"]["built"] is True


def test_a_link_cut_while_a_deployment_lets_the_board_build(bench: Bench, gated: EngineBoard) -> None:
    built = edgekit("build", "--target", "jetson", "--json", cwd=bench.project).document["bundle"]
    running = start("deploy", "orin", "--bundle", built, "--stand-in", "--json", cwd=bench.project)
    said = cut_in_mid_build(running, gated)
    (app,) = edgekit("status", "orin", "--json", cwd=bench.project).document["apps"]
    assert (app["current"], app["whole"]) == (said.document["release"], True)


def test_ctrl_c_leaves_the_board_building_and_says_so(bench: Bench, gated: EngineBoard) -> None:
    running = start(*BUILD, cwd=bench.project)
    until(lambda: gated.builds, "the build begins")
    running.process.send_signal(signal.SIGINT)
    said = running.end()
    said.refused(130, "goes on", "the same command attaches")
    gated.gate.touch()
    again = edgekit(*BUILD, cwd=bench.project)
    assert again.code == 0, again
    assert len(gated.builds) == 1


def test_a_builder_killed_for_memory_is_reported_as_such(bench: Bench) -> None:
    board = bench.board("orin", {"STANDIN_KILL": "9"})
    edgekit(*BUILD, cwd=bench.project).refused(4, "memory", "fix:")
    assert len(board.builds) == 1
    assert not list((board.root / "engines").glob("*/engine.plan")), "no half of an engine is taken for one"


def test_what_tensorrt_refuses_is_told(bench: Bench) -> None:
    bench.board("orin", {"STANDIN_REFUSE": "Conv"})
    edgekit(*BUILD, cwd=bench.project).refused(4, "Conv")
