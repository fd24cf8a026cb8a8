"""Calibration of a build: what the cache gives back, what it refuses, and how interrupted work goes on."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.bundle import open_bundle
from edgekit.errors import InputError
from edgekit.parse import into
from edgekit.pipeline import calibrate as steps
from edgekit.pipeline.build import build
from edgekit.pipeline.calibrate import Calibrated, Shard, calibrate
from edgekit.project import Project
from edgekit.quantize.observation import encode
from edgekit.target import load_target
from tests.unit.pipeline.test_build import IMAGES, classifier

TOTAL = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    classifier(tmp_path / "net.onnx")
    np.savez(tmp_path / "cal.npz", x=IMAGES[:TOTAL])
    np.savez(tmp_path / "eval.npz", x=IMAGES[TOTAL:])
    return tmp_path


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let forty small samples be many chunks."""
    monkeypatch.setattr("edgekit.quantize.observe._CHUNK_SAMPLES", 3)


def project(**sections: dict[str, Any]) -> Project:
    base = {"preprocess": {"scale": 1 / 255}, "calibration": {"dataset": "cal.npz"}, "evaluation": {"dataset": "eval.npz"}}
    return into({**base, **sections}, Project, "test")


def run(folder: Path, *, sections: dict[str, dict[str, Any]] | None = None, **options: Any) -> Calibrated:
    return calibrate(project(**(sections or {})), folder, load_target("local"), model_path=folder / "net.onnx", **options)


def cached(home: Path) -> list[Path]:
    return sorted((home / ".cache" / "edgekit" / "observations").glob("*"))


def stop_after(count: int, error: BaseException) -> Callable[[str, int, int], None]:
    def progress(stage: str, done: int, total: int) -> None:
        if stage == "calibrate" and done >= count:
            raise error

    return progress


def plan_of(folder: Path, **options: Any) -> bytes:
    built = build(project(), folder, load_target("local"), model_path=folder / "net.onnx", output=folder / "out", **options)
    with open_bundle(built.path) as bundle:
        return bundle.read("plan.json")


def test_the_second_time_nothing_is_observed(folder: Path, home: Path) -> None:
    first = run(folder)
    assert (first.reused, first.observations.missing, first.notes) == (0, (), ())
    (file,) = cached(home)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    seen: list[tuple[str, int, int]] = []
    again = run(folder, progress=lambda *step: seen.append(step))
    assert (again.reused, again.observations, again.notes) == (TOTAL, first.observations, ())
    assert seen == [("calibrate", TOTAL, TOTAL)]


def test_a_build_takes_what_calibrate_left_whatever_the_method(folder: Path, home: Path) -> None:
    plan = plan_of(folder)
    seen: list[tuple[str, int, int]] = []
    for method in ("minmax", "entropy"):
        sections = project(calibration={"dataset": "cal.npz", "method": method})
        options: dict[str, Any] = {"model_path": folder / "net.onnx", "output": folder / "out"}
        build(sections, folder, load_target("local"), progress=lambda *step: seen.append(step), **options)
    assert [step for step in seen if step[0] == "calibrate"] == [("calibrate", TOTAL, TOTAL)] * 2
    assert len(cached(home)) == 1
    assert plan_of(folder) == plan


@pytest.mark.parametrize("change", ["samples", "preprocessing", "model", "versions"])
def test_what_is_stale_is_observed_anew(folder: Path, home: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old = run(folder)
    sections: dict[str, dict[str, Any]] = {}
    if change == "samples":
        np.savez(folder / "cal.npz", x=IMAGES[1 : TOTAL + 1])
    elif change == "preprocessing":
        sections = {"preprocess": {"scale": 1 / 128}}
    elif change == "model":
        (folder / "net.onnx").write_bytes((folder / "net.onnx").read_bytes().replace(b"image", b"other"))
    else:
        monkeypatch.setattr(steps, "version", lambda name: "0.0")
    new = run(folder, sections=sections)
    assert (new.reused, new.notes) == (0, ())
    assert new.observations.identity.sha256 != old.observations.identity.sha256
    assert len(cached(home)) == 2


def test_a_file_of_something_else_under_our_name_is_told_and_not_used(folder: Path, home: Path) -> None:
    run(folder)
    (right,) = cached(home)
    old = right.read_bytes()
    run(folder, sections={"preprocess": {"scale": 1 / 128}})
    (wrong,) = set(cached(home)) - {right}
    wrong.write_bytes(old)
    found = run(folder, sections={"preprocess": {"scale": 1 / 128}})
    assert found.reused == 0
    assert "the calibration cache is not used" in found.notes[0]
    assert "of another preprocessing" in found.notes[0]


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-100], lambda data: data[:500] + b"!" + data[501:], lambda data: b"", lambda data: b"x" * 99],
    ids=["short", "changed", "empty", "other"],
)
def test_a_damaged_file_is_told_and_mended(folder: Path, home: Path, damage: Callable[[bytes], bytes]) -> None:
    first = run(folder)
    (file,) = cached(home)
    file.write_bytes(damage(file.read_bytes()))
    again = run(folder)
    assert (again.reused, again.observations) == (0, first.observations)
    assert "no observations that edgekit can use" in again.notes[0]
    assert run(folder).notes == ()


@pytest.mark.parametrize("after", [1, 20, 39])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the camera broke")], ids=["ctrl-c", "error"])
def test_interrupted_work_goes_on_to_the_same_bits(folder: Path, home: Path, after: int, error: BaseException, tmp_path: Path) -> None:
    whole = run(folder)
    (file,) = cached(home)
    file.unlink()
    with pytest.raises(type(error)) as stopped:
        run(folder, progress=stop_after(after, error))
    if isinstance(error, KeyboardInterrupt):
        assert "samples are observed and kept: --resume goes on there" in str(stopped.value)
    seen: list[tuple[str, int, int]] = []
    rest = run(folder, resume=True, progress=lambda *step: seen.append(step))
    assert after <= rest.reused <= TOTAL
    assert seen[0] == ("calibrate", rest.reused, TOTAL), "it says where it starts"
    assert seen[-1] == ("calibrate", TOTAL, TOTAL)
    assert encode(rest.observations) == encode(whole.observations)


def test_without_resume_interrupted_work_starts_again_and_says_so(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(folder, progress=stop_after(3, KeyboardInterrupt()))
    found = run(folder)
    assert found.reused == 0
    assert "was not taken up again" in found.notes[0]
    assert run(folder, resume=True).reused == TOTAL


def test_what_fails_twice_was_kept_up_to_there(folder: Path) -> None:
    """Sample 30 makes the network give a value that is not finite."""
    bad = IMAGES[:TOTAL].astype(np.float32)
    bad[30] = 3e38
    np.savez(folder / "cal.npz", x=bad)
    with pytest.raises(InputError, match="not finite"):
        run(folder, sections={"preprocess": {"scale": 1.0}})
    seen: list[tuple[str, int, int]] = []
    with pytest.raises(InputError, match="not finite"):
        run(folder, sections={"preprocess": {"scale": 1.0}}, resume=True, progress=lambda *step: seen.append(step))
    assert 20 <= seen[0][1] <= 30


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40, 50])
def test_shards_are_the_set_cut_in_even_parts(count: int) -> None:
    spans = [Shard(number, count).spans(TOTAL) for number in range(1, count + 1)]
    numbers = [n for part in spans for start, end in part for n in range(start, end)]
    assert numbers == list(range(TOTAL))
    sizes = {sum(end - start for start, end in part) for part in spans}
    assert max(sizes) - min(sizes) <= 1


def test_shards_put_together_are_the_whole(folder: Path, home: Path) -> None:
    whole = run(folder)
    parts = [folder / f"part{number}.obs" for number in (1, 2, 3)]
    for number, path in enumerate(parts, start=1):
        assert run(folder, shard=Shard(number, 3), output=path).observations.count in (13, 14)
    for file in cached(home):
        file.unlink()
    found = run(folder, parts=reversed(parts))
    assert (found.reused, found.observations) == (TOTAL, whole.observations)
    assert run(folder).reused == TOTAL, "the cache has it now"
    assert run(folder, parts=parts).reused == TOTAL, "and asks for no parts any more"
    for file in cached(home):
        file.unlink()
    found = run(folder, parts=parts[1:])
    assert (found.reused, found.observations) == (27, whole.observations)


def test_parts_that_do_not_belong_together(folder: Path) -> None:
    run(folder, shard=Shard(1, 2), output=folder / "one.obs")
    run(folder, shard=Shard(1, 3), output=folder / "other.obs")
    run(folder, sections={"preprocess": {"scale": 1 / 128}}, shard=Shard(2, 2), output=folder / "stale.obs")
    with pytest.raises(InputError, match="sample 0 is in both"):
        run(folder, parts=[folder / "one.obs", folder / "other.obs"])
    with pytest.raises(InputError, match=r"stale\.obs is of another preprocessing"):
        run(folder, parts=[folder / "one.obs", folder / "stale.obs"])
    with pytest.raises(InputError, match=r"none\.obs: cannot be read"):
        run(folder, parts=[folder / "none.obs"])


def test_a_cache_that_cannot_be_written_stops_no_build(folder: Path, home: Path) -> None:
    (home / ".cache" / "edgekit").write_text("in the way")
    built = build(project(), folder, load_target("local"), model_path=folder / "net.onnx", output=folder / "out")
    assert "the calibration cache cannot be written" in built.notes[0]
    with pytest.raises(InputError, match="cannot be written"):
        run(folder)
    assert run(folder, output=folder / "all.obs").observations.count == TOTAL


def test_the_cache_keeps_the_newest(folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.pipeline.cache._FILES_MAX", 3)
    for number in range(5):
        run(folder, sections={"preprocess": {"scale": 1.0 + number}})
        for file in cached(home):
            os.utime(file, (file.stat().st_atime - 1, file.stat().st_mtime - 1))
    leftover = cached(home)[0].parent / ".killed.obs.abc"
    leftover.write_bytes(b"half")
    os.utime(leftover, (0, 0))
    run(folder, sections={"preprocess": {"scale": 9.0}})
    assert len(cached(home)) == 3
    assert run(folder, sections={"preprocess": {"scale": 5.0}}).reused == TOTAL
