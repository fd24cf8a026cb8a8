"""What a commit removes, and above all what it leaves."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

import pytest

from edgekit.ondevice import boot, disk, journal, prune, releases, store
from edgekit.ondevice.tensorrt import engines

from .conftest import Agent


class Store:
    """Five releases of an application, committed one after the other: two blobs of their own each, and one that all share."""

    def __init__(self, agent: Agent) -> None:
        self.root = str(agent.root)
        self.release = [agent.place("meter", {"model": b"%d" % number, "shared": b"shared"}) for number in range(5)]
        with disk.locked(self.root):
            for release in self.release:
                journal.note(self.root, "meter", "committed", release, deployment="d" * 16)
        self.link(4, 3)

    def link(self, current: int, previous: int) -> None:
        for name, number in (("current", current), ("previous", previous)):
            releases._link(self.root, "meter", name, self.release[number])

    def here(self) -> list[int]:
        return [number for number, release in enumerate(self.release) if store.whole(self.root, "meter", release, digests=True) is None]

    def blobs(self) -> int:
        return len(list(Path(self.root, "blobs", "sha256").iterdir()))


@pytest.fixture
def stored(agent: Agent) -> Store:
    return Store(agent)


@pytest.mark.parametrize(
    ("keep", "current", "previous", "left"),
    [(3, 4, 3, [2, 3, 4]), (2, 4, 3, [3, 4]), (2, 0, 1, [0, 1]), (3, 0, 1, [0, 1, 4]), (9, 4, 3, [0, 1, 2, 3, 4])],
)
def test_the_last_ones_stay_and_those_that_are_linked(stored: Store, keep: int, current: int, previous: int, left: list[int]) -> None:
    stored.link(current, previous)
    assert stored.blobs() == 11
    gone = prune.prune(stored.root, "meter", keep)
    assert stored.here() == left
    assert sorted(gone) == sorted(release for number, release in enumerate(stored.release) if number not in left)
    assert stored.blobs() == 2 * len(left) + 1
    assert prune.prune(stored.root, "meter", keep) == []


def test_one_in_use_stays(stored: Store) -> None:
    handle = disk.hold(store.release_path(stored.root, "meter", stored.release[0]))
    try:
        prune.prune(stored.root, "meter", 2)
        assert stored.here() == [0, 3, 4]
    finally:
        os.close(handle)
    prune.prune(stored.root, "meter", 2)
    assert stored.here() == [3, 4]


def test_blobs_of_another_application_stay(agent: Agent, stored: Store) -> None:
    other = agent.place("other", {"model": b"0"})
    prune.prune(stored.root, "meter", 2)
    shared = hashlib.sha256(b"0").hexdigest()  # release 0 of the application is gone, and was made of it too
    assert Path(disk.blob_path(stored.root, shared)).exists()
    assert store.whole(stored.root, "other", other, digests=True) is None


def test_one_that_was_broken_off_goes_on(stored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prune, "_remove", cut)
        with pytest.raises(KeyboardInterrupt):
            prune.prune(stored.root, "meter", 2)
    assert (stored.here(), stored.blobs()) == ([3, 4], 11)
    prune.prune(stored.root, "meter", 2)
    assert (stored.here(), stored.blobs()) == ([3, 4], 5)
    assert sorted(os.listdir(os.path.dirname(store.release_path(stored.root, "meter", "")))) == sorted(stored.release[3:])  # noqa: PTH208, PTH120


def test_engines_of_networks_in_no_release_go(stored: Store) -> None:
    old = time.time() - prune.STALE_S - 60
    source = {"stays": b"4", "fresh": b"gone", "builds": b"gone", "gone": b"gone", "pruned": b"0"}
    folders = {name: Path(engines.engine_path(stored.root, hashlib.sha256(name.encode()).hexdigest())) for name in source}
    folders["failed"] = folders["gone"].with_name(folders["gone"].name + ".work")
    for name, folder in folders.items():
        folder.mkdir(parents=True)
        key = {"onnx_sha256": hashlib.sha256(source.get(name, b"gone")).hexdigest()}
        engines.write_json(str(folder / engines.ACCOUNT), {"key": key, "files": {}})
        if name != "fresh":
            os.utime(folder, (old, old))
    builder = engines.take(stored.root, folders["builds"].name)
    assert builder is not None
    try:
        prune.prune(stored.root, "meter", 2)
    finally:
        os.close(builder)
    assert [name for name, folder in folders.items() if folder.exists()] == ["stays", "fresh", "builds"]


def test_what_nobody_goes_on_with_goes(stored: Store, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/agent-000000000000.pyz"])
    root, old = Path(stored.root), time.time() - prune.STALE_S - 60
    (root / "agent").mkdir(exist_ok=True)
    (root / "incoming").mkdir(exist_ok=True)
    names = {"current": "000000000000", "boot": "111111111111", "unit": "222222222222", "gone": "333333333333", "fresh": "444444444444"}
    agents = {key: root / "agent" / f"agent-{name}.pyz" for key, name in names.items()}
    parts = {key: root / "incoming" / f"{key}.part" for key in ("old", "new")}
    for path in [*agents.values(), *parts.values()]:
        path.touch()
    for path in [*(agents[key] for key in ("current", "boot", "unit", "gone")), parts["old"]]:
        os.utime(path, (old, old))
    (root / boot.SCRIPT).write_text(f"exec python3 {agents['boot']}\n")
    units = Path(boot.units_folder())
    units.mkdir(parents=True)
    (units / "edgekit-meter.service").write_text(f"ExecStart=python3 {agents['unit']}\n")
    prune.prune(stored.root, "meter", 3)
    assert [key for key, path in agents.items() if path.exists()] == ["current", "boot", "unit", "fresh"]
    assert [key for key, path in parts.items() if path.exists()] == ["new"]
