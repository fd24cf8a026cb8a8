"""A switch that is broken off at any step leaves a whole release current, and the next job finds its way."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
from pathlib import Path
from typing import Any, Callable

import pytest

from edgekit.ondevice import disk, recover, releases, store
from edgekit.ondevice.wire import AgentError

from .conftest import Agent, bundle, entries

STEPS = ("symlink", "replace", "fsync", "unlink", "link", "rename", "chmod")


class Cut(BaseException):
    """The power goes."""


def quiet(stage: str, done: int, total: int) -> None:
    pass


@pytest.fixture
def root(agent: Agent) -> str:
    for content in (b"1", b"2", b"3"):
        agent.deploy("meter", {"model.tflite": content})
    return str(agent.root)


def digest(content: bytes) -> str:
    return bundle({"model.tflite": content})[0]


ONE, TWO, THREE = digest(b"1"), digest(b"2"), digest(b"3")


def activate(root: str, release: str) -> None:
    """Switch as `deploy.activate` does, without a watchdog; the edgekit before had none."""
    with disk.locked(root):
        now = releases.standing(root, "meter")
        releases.complete(root, "meter")
        if now.current != release:
            releases.switch(root, "meter", release, None if now.current is None else now.current, "activated")
            releases.complete(root, "meter")


def rollback(root: str) -> dict[str, Any]:
    return recover.rollback({"app": "meter"}, root, quiet)


def links(root: str) -> tuple[Any, Any]:
    return releases.read_link(root, "meter", "current"), releases.read_link(root, "meter", "previous")


def assert_sound(root: str) -> None:
    for release in links(root):
        assert release is not None
        assert store.whole(root, "meter", release, digests=True) is None
    assert (Path(root) / "apps" / "meter" / "current" / "model.tflite").stat().st_size == 1


def cut_at(step: int, action: Callable[[], Any], after: bool) -> bool:
    """Let the power go before or after the n-th call that changes the disk; say whether the action got that far."""
    count = itertools.count()

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            here = next(count) == step
            if here and not after:
                raise Cut
            try:
                return real(*arguments, **named)
            finally:
                if here:
                    raise Cut

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, failing(getattr(os, name)))
        try:
            action()
        except Cut:
            return True
    return False


@pytest.mark.parametrize("after", [False, True])
def test_activation_survives_a_cut_at_every_step(root: str, after: bool) -> None:
    for step in itertools.count():
        for release in (TWO, ONE):
            activate(root, release)
        assert links(root) == (ONE, TWO)
        cut = cut_at(step, lambda: activate(root, THREE), after)
        assert_sound(root)
        current, _ = links(root)
        assert current in (ONE, THREE)
        if step % 2:
            # Going back undoes the switch if it happened, else the one before it.
            assert rollback(root)["release"] == (ONE if current == THREE else TWO)
        else:
            activate(root, THREE)
            assert links(root) == (THREE, ONE)
        assert_sound(root)
        if not cut:
            assert step > 8
            return


@pytest.mark.parametrize("after", [False, True])
def test_rollback_survives_a_cut_at_every_step(root: str, after: bool) -> None:
    for step in itertools.count():
        for release in (ONE, TWO, THREE):
            activate(root, release)
        assert links(root) == (THREE, TWO)
        cut = cut_at(step, lambda: rollback(root), after)
        assert_sound(root)
        activate(root, TWO)
        assert links(root) == (TWO, THREE)
        if not cut:
            assert step > 8
            return


@pytest.mark.parametrize("after", [False, True])
def test_staging_survives_a_cut_at_every_step(root: str, after: bool) -> None:
    release, files = bundle({"model.tflite": b"1", "more": b"2"})
    blobs = Path(root) / "blobs" / "sha256"
    for entry, data in zip(entries(files), (files[path] for path in sorted(files))):
        (blobs / entry["sha256"]).write_bytes(data)
    job = {"app": "meter", "release": release, "files": entries(files)}
    for step in itertools.count():
        cut = cut_at(step, lambda: store.stage(job, root, quiet), after)
        wrong = store.whole(root, "meter", release, digests=True)
        assert wrong in (None, "it is not staged")
        store.stage(job, root, quiet)
        assert store.whole(root, "meter", release, digests=True) is None
        shutil.rmtree(store.release_path(root, "meter", release))
        if not cut:
            assert step > 3
            return


@pytest.mark.parametrize("after", [False, True])
def test_mending_the_current_release_survives_a_cut_at_every_step(root: str, after: bool) -> None:
    contents = {"golden/samples.npz": b"2", "model.tflite": b"1"}
    release, files = bundle(contents)
    for entry, data in zip(entries(files), (files[path] for path in sorted(files))):
        Path(root, "blobs", "sha256", entry["sha256"]).write_bytes(data)
    job = {"app": "meter", "release": release, "files": entries(files)}
    store.stage(job, root, quiet)
    activate(root, release)
    current = Path(root, "apps", "meter", "current")
    for step in itertools.count():
        for path in ("golden/samples.npz", "manifest.json"):
            (current / path).unlink()
            (current / path).write_bytes(b"")
        cut = cut_at(step, lambda: store.stage(job, root, quiet), after)
        assert (current / "model.tflite").read_bytes() == b"1"  # what was sound stays in its place
        assert (current / "golden/samples.npz").read_bytes() in (b"", b"2")
        store.stage(job, root, quiet)
        assert store.whole(root, "meter", release, digests=True) is None
        assert not list(current.resolve().parent.glob(".stage-*"))
        if not cut:
            assert step > 8
            return


def test_a_disk_that_fills_up_after_the_switch_is_no_failure(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    activate(root, TWO)
    activate(root, ONE)

    symlink = os.symlink

    def full_once_switched(target: str, link: str) -> None:
        if links(root)[0] == THREE:
            raise OSError(errno.ENOSPC, "No space left on device")
        symlink(target, link)

    with monkeypatch.context() as patch:
        patch.setattr(os, "symlink", full_once_switched)
        activate(root, THREE)
    assert links(root) == (THREE, TWO)
    (app,) = releases.status({"app": "meter"}, root, quiet)["apps"]
    assert (app["current"], app["previous"]) == (THREE, ONE)
    assert rollback(root)["release"] == ONE
    assert links(root) == (ONE, THREE)


@pytest.mark.parametrize("name", ["current", "previous"])
def test_a_folder_where_a_link_belongs(root: str, name: str) -> None:
    activate(root, ONE)
    link = Path(root, "apps", "meter", name)
    link.unlink(missing_ok=True)
    link.mkdir()
    if name == "current":
        with pytest.raises(AgentError, match="current is a folder and must be a link") as caught:
            activate(root, TWO)
        assert caught.value.fix == "move that folder away"
        link.rmdir()
        activate(root, ONE)
    activate(root, TWO)
    assert rollback(root)["release"] == ONE


def test_the_journal_is_private(root: str) -> None:
    activate(root, ONE)
    assert Path(root, "apps", "meter", "journal").stat().st_mode & 0o777 == 0o600


def test_a_torn_journal_is_passed_over(root: str) -> None:
    activate(root, ONE)
    journal = Path(root) / "apps" / "meter" / "journal"
    with journal.open("ab") as file:
        file.write(b'{"event": "activ')
    activate(root, TWO)
    assert rollback(root)["release"] == ONE
    (app,) = releases.status({"app": "meter"}, root, quiet)["apps"]
    assert app["since"] is not None
    events = [json.loads(line)["event"] for line in journal.read_text().splitlines() if "torn" not in line and line.endswith("}")]
    assert events == ["switching", "activated", "switching", "activated", "switching", "rolled-back"]


@pytest.mark.parametrize("target", ["/etc", "../../..", "releases/../../..", "releases/" + "0" * 63])
def test_a_link_to_anywhere_else_counts_as_none(root: str, target: str) -> None:
    (Path(root) / "apps" / "meter" / "current").symlink_to(target)
    (app,) = releases.status({"app": None}, root, quiet)["apps"]
    assert (app["current"], app["whole"]) == (None, False)
    activate(root, ONE)
    assert links(root) == (ONE, None)
