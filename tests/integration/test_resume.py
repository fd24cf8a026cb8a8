"""Real processes that are interrupted, terminated or killed in the middle of calibration, and what `--resume` makes of it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.bundle import open_bundle
from edgekit.digest import sha256_file
from edgekit.pipeline.cache import read_observations
from tests.integration.command import DEMO, Said, edgekit

# A process that gets its signal at a known place: after so many checkpoints, or in the middle of writing one.
STRUCK = """
import os, signal, sys
from edgekit import digest
from edgekit.pipeline import calibrate

calibrate.CHECKPOINT_S = 0
number, after, within, *words = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "writing", *sys.argv[4:]
writes, fsync = 0, os.fsync

def struck(handle):
    global writes
    writes += 1
    if within and writes == after:
        os.kill(os.getpid(), number)
    fsync(handle)

class Os:
    def __getattr__(self, name):
        return struck if name == "fsync" else getattr(os, name)

digest.os = Os()
save = calibrate._Work.save
saves = 0

def save_and_strike(self):
    global saves
    save(self)
    saves += 1
    if saves == after and not within:
        os.kill(os.getpid(), number)

calibrate._Work.save = save_and_strike
sys.argv = ["edgekit", *words]
from edgekit.__main__ import main
main()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("build"))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a build that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "project"
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("build"))
    said = edgekit("build", "--target", "rpi4", "--json", cwd=folder)
    assert said.code == 0, said
    return Path(said.document["bundle"])


def struck(number: signal.Signals, after: int, *words: str, cwd: Path, where: str = "working") -> Said:
    command = [sys.executable, "-c", STRUCK, str(int(number)), str(after), where, *words]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
    return Said(done.returncode, done.stdout, done.stderr)


def plan(bundle: Path) -> bytes:
    with open_bundle(bundle) as opened:
        return opened.read("plan.json")


def same(said: Said, whole: Path) -> None:
    """Check that a build ended in this very bundle."""
    assert said.code == 0, said
    assert said.document["notes"] == []
    bundle = Path(said.document["bundle"])
    assert plan(bundle) == plan(whole)
    assert (bundle.name, sha256_file(bundle)) == (whole.name, sha256_file(whole))


@pytest.mark.parametrize(
    ("number", "where", "code", "word"),
    [
        (signal.SIGINT, "working", 130, "interrupted"),
        (signal.SIGTERM, "working", 143, "terminated"),
        (signal.SIGKILL, "working", -9, ""),
        (signal.SIGKILL, "writing", -9, ""),
        (signal.SIGINT, "writing", 130, "interrupted"),
    ],
)
def test_a_build_that_was_stopped_goes_on_to_the_same_bundle(
    project: Path, home: Path, whole: Path, number: signal.Signals, where: str, code: int, word: str
) -> None:
    stopped = struck(number, 4, "build", "--target", "rpi4", "--json", cwd=project, where=where)
    assert stopped.code == code, stopped
    assert "Traceback" not in stopped.err
    assert not list((project / "build").glob("*.edge"))
    if word:
        error = json.loads(stopped.out)["error"]
        assert (error["kind"], error["message"]) == ("interrupted", word)
        assert "calibration samples are observed and kept: --resume goes on there" in error["fix"]
    (file,) = (home / ".cache" / "edgekit" / "observations").glob("*.obs")
    assert 0 < read_observations(file).count < 192
    same(edgekit("build", "--target", "rpi4", "--resume", "--json", cwd=project), whole)


def test_shards_of_several_processes_make_the_bundle_of_one(project: Path, home: Path, whole: Path) -> None:
    names = [f"part{number}.obs" for number in (1, 2, 3)]
    words = ("calibrate", "--target", "rpi4", "--shard")
    running = [
        subprocess.Popen([sys.executable, "-m", "edgekit", *words, f"{number}/3", "--output", name], cwd=project, stdout=subprocess.DEVNULL)
        for number, name in enumerate(names, start=1)
    ]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    shutil.rmtree(home / ".cache" / "edgekit")
    merged = edgekit("calibrate", "--target", "rpi4", *names, "--json", cwd=project)
    assert (merged.document["reused"], merged.document["samples"]) == (192, 192)
    same(edgekit("build", "--target", "rpi4", "--json", cwd=project), whole)


def test_a_part_of_another_preprocessing_is_refused(project: Path) -> None:
    words = ("--target", "rpi4", "--shard", "1/2", "--output", "part1.obs")
    assert edgekit("calibrate", *words, cwd=project).code == 0
    toml = project / "edgekit.toml"
    toml.write_text(toml.read_text().replace("std = [0.25, 0.25, 0.25]", "std = [0.5, 0.5, 0.5]"))
    edgekit("calibrate", "--target", "rpi4", "part1.obs", cwd=project).refused(
        3, "part1.obs is of another", "another preprocessing", "fix:"
    )
    damaged = project / "part1.obs"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    edgekit("calibrate", "--target", "rpi4", "part1.obs", cwd=project).refused(3, "part1.obs", "digest does not fit")
    edgekit("calibrate", "--target", "rpi4", "--shard", "3/2", "--output", "p", cwd=project).refused(2, "I/N")
    edgekit("calibrate", "--target", "rpi4", "--shard", "1/2", cwd=project).refused(2, "a file of its own")


def test_a_home_that_cannot_be_written_stops_no_build(project: Path, home: Path) -> None:
    (home / ".cache" / "edgekit").write_text("in the way")
    toml = project / "edgekit.toml"
    toml.write_text(toml.read_text().partition("[budget]")[0])
    said = edgekit("build", "--target", "rpi4", "--json", cwd=project)
    assert said.code == 0, said
    assert "cannot be written" in said.document["notes"][0]
    assert "cannot be written" in edgekit("build", "--target", "rpi4", cwd=project).out
    edgekit("calibrate", "--target", "rpi4", cwd=project).refused(3, "cannot be written", "XDG_CACHE_HOME")
    assert [path.name for path in (home / ".cache").iterdir()] == ["edgekit"]
