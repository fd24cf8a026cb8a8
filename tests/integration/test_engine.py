"""Engines on a reference board over a real sshd: built, raced, fetched, deployed, probed. TensorRT is a double (``tests/standin``)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgekit.bundle import damage, open_bundle
from edgekit.manifest import Manifest
from tests.integration.command import Said, edgekit
from tests.integration.conftest import Lab
from tests.integration.engine import Bench
from tests.integration.test_line import copy_demo
from tests.standin.board import standin_python

pytestmark = pytest.mark.sshd

BUILD = ("build", "--target", "host-gpu", "--json")


@pytest.fixture
def bench(lab: Lab, tmp_path: Path) -> Bench:
    return Bench(lab, tmp_path)


def manifest_of(said: Said) -> Manifest:
    assert said.code == 0, said
    with open_bundle(Path(said.document["bundle"])) as bundle:
        assert damage(bundle) == []
        return bundle.manifest


def test_the_whole_way(bench: Bench) -> None:
    board = bench.board("orin")
    built = edgekit(*BUILD, "--device", "orin", "--precision", "mixed", cwd=bench.project)
    manifest = manifest_of(built)
    assert manifest.engine is not None
    assert (manifest.engine.key.tensorrt, manifest.engine.key.precision) == ("10.3.0", "mixed")
    assert len(board.builds) == 1
    assert built.document["engine"]["built"] is True
    assert built.document["engine"]["commands"] == {}
    shown = edgekit("inspect", built.document["bundle"], cwd=bench.project).out
    assert "engine       mixed, for TensorRT 10.3.0 on Orin (compute capability 8.7, CUDA 12.6) and no other\n" in shown
    figures = {m["name"] for m in built.document["report"]["measurements"]}
    assert any("mixed" in name for name in figures), "the board's own figures stand beside the host's"

    before = board.connections
    deployed = edgekit("deploy", "orin", "--json", cwd=bench.project)
    assert deployed.code == 0, deployed
    assert deployed.document["engine"] is None, "nothing is left to build"
    assert board.connections == before + 1, "one link serves a deployment that builds nothing"
    assert deployed.document["golden"]["max_diff"] <= deployed.document["golden"]["tolerance"]
    assert len(board.builds) == 1

    accuracy = edgekit("probe", "accuracy", "orin", "--json", cwd=bench.project)
    assert accuracy.code == 0, accuracy
    assert {m["name"]: m["value"] for m in accuracy.document["report"]["measurements"]}["top1_artifact"] > 0.97

    latency = edgekit("probe", "latency", "orin", "--min-time", "0.1", "--min-count", "30", "--json", cwd=bench.project)
    assert latency.code in (0, 8), latency
    assert latency.document["report"]["environment"]["runtime"].startswith("tensorrt")


def test_auto_builds_every_precision_and_ships_the_winner(bench: Bench) -> None:
    board = bench.board("orin", {"STANDIN_INVOKE_US": '{"FP16": 200, "INT8": 1500, "FP16+INT8": 1500}'})
    built = edgekit(*BUILD, "--device", "orin", cwd=bench.project)
    recipe = manifest_of(built).recipe
    assert recipe is not None
    assert len(board.builds) == 3
    assert recipe.precision == "fp16" or any("cannot be told" in note for note in built.document["notes"]), "INT8 is slower here"
    measured = {m["name"] for m in built.document["report"]["measurements"]}
    assert {f"race_{precision}_top1_artifact" for precision in ("int8", "fp16", "mixed")} <= measured


def test_one_build_serves_boards_of_one_kind_and_no_others(bench: Bench, home: Path) -> None:
    first, twin = bench.board("orin"), bench.board("twin")
    newer = bench.board("newer", {"STANDIN_TENSORRT_VERSION": "10.7.0"})
    built = edgekit(*BUILD, "--device", "orin", "--precision", "mixed", cwd=bench.project)
    manifest = manifest_of(built)
    (timed,) = (home / ".cache" / "edgekit" / "timing").rglob("*/*")

    again = edgekit(*BUILD, "--device", "twin", "--precision", "mixed", cwd=bench.project)
    assert manifest_of(again).engine == manifest.engine
    assert (len(first.builds), len(twin.builds)) == (1, 0)
    assert not (twin.root / "engines").exists()
    assert any("an earlier build" in note for note in again.document["notes"])
    assert edgekit("deploy", "twin", cwd=bench.project).code == 0

    said = edgekit("deploy", "newer", cwd=bench.project)
    said.refused(6, "for tensorrt 10.3.0, the board has 10.7.0", "nothing of the release was sent")
    said.refused(6, "edgekit build --target host-gpu --device newer --precision mixed")
    assert newer.blobs == []

    # Another precision is another engine, but what the first board has timed is known on its twin.
    manifest_of(edgekit(*BUILD, "--device", "twin", "--precision", "int8", cwd=bench.project))
    assert timed.name in twin.blobs
    (build,) = twin.builds
    assert build["timed"] > 0, "the build began with it"


@pytest.mark.parametrize(
    ("software", "words"),
    [({"driver": False}, "no NVIDIA GPU"), ({"packages": (), "trtexec": False}, "no TensorRT")],
    ids=["no GPU", "no TensorRT"],
)
def test_a_board_that_lacks_something_is_told_what(bench: Bench, software: dict[str, Any], words: str) -> None:
    bench.board("bare", **software)
    edgekit(*BUILD, "--device", "bare", cwd=bench.project).refused(4, words, "fix:")


def test_a_board_with_trtexec_alone_builds_and_does_not_race(bench: Bench) -> None:
    board = bench.board("orin", packages=())
    edgekit(*BUILD, "--device", "orin", cwd=bench.project).refused(4, "cannot be raced there", "python3-libnvinfer", "--precision")
    built = edgekit(*BUILD, "--device", "orin", "--precision", "mixed", cwd=bench.project)
    assert manifest_of(built).engine is not None
    assert built.document["report"]["environment"]["builder"] == "trtexec"
    assert any("did not run on the board" in note for note in built.document["notes"])
    again = edgekit(*BUILD, "--device", "orin", "--precision", "mixed", cwd=bench.project)
    assert again.document["bundle"] == built.document["bundle"]
    assert len(board.builds) == 1
    edgekit("deploy", "orin", cwd=bench.project).refused(6, "trtexec alone gives no answers", "nothing of the release was sent")


def test_a_board_of_another_kind_is_refused(bench: Bench) -> None:
    bench.board("orin")
    edgekit("build", "--target", "jetson", "--device", "orin", cwd=bench.project).refused(4, "jetson is aarch64")


def test_a_recipe_becomes_an_engine_with_the_first_deployment(bench: Bench) -> None:
    """This machine is no Jetson, so it stands in for one; everything else is as on one."""
    board = bench.board("orin")
    built = edgekit("build", "--target", "jetson", "--json", cwd=bench.project)
    assert manifest_of(built).engine is None
    assert "edgekit deploy" in built.document["engine"]["commands"]["deploy"]
    shown = edgekit("inspect", built.document["bundle"], cwd=bench.project).out
    assert "engine       mixed, to be built on the board by the first deployment\n" in shown
    first = edgekit("deploy", "orin", "--bundle", built.document["bundle"], "--stand-in", "--json", cwd=bench.project)
    assert first.code == 0, first
    assert first.document["engine"]["cached"] is False
    again = edgekit("deploy", "orin", "--bundle", built.document["bundle"], "--stand-in", "--json", cwd=bench.project)
    assert again.document["engine"]["cached"] is True
    assert len(board.builds) == 1
    assert edgekit("probe", "accuracy", "orin", cwd=bench.project).code == 0


def test_this_hosts_own_gpu_is_the_board_where_the_target_says_so(tmp_path: Path) -> None:
    """No SSH: edgekit runs where the doubles are, and builds, deploys and probes there."""
    project = copy_demo(tmp_path / "project")
    python = standin_python(tmp_path / "board")

    def here(*words: str) -> Said:
        done = subprocess.run([python, "-m", "edgekit", *words, "--json"], cwd=project, capture_output=True, text=True, timeout=120)
        return Said(done.returncode, done.stdout, done.stderr)

    manifest = manifest_of(here("build", "--target", "host-gpu", "--precision", "fp16"))
    assert manifest.engine is not None
    assert manifest.engine.key.precision == "fp16"
    assert here("deploy", "local").code == 0
    assert here("probe", "accuracy", "local").code == 0
