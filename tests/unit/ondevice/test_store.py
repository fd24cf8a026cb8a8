from __future__ import annotations

import errno
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.ondevice import disk, store, wire
from edgekit.ondevice.wire import AgentError

from .conftest import Agent, bundle, entries

CONTENTS = {"model.tflite": b"weights" * 100, "golden/samples.npz": b"samples", "plan.json": b""}


def quiet(stage: str, done: int, total: int) -> None:
    pass


def test_a_release_arrives(each_agent: Agent) -> None:
    release, files = bundle(CONTENTS, target="rpi4")
    for data in files.values():
        each_agent.push(data)
    for staged in (True, False):
        assert each_agent.ask("store.stage", app="meter", release=release, files=entries(files))["staged"] is staged
    folder = each_agent.root / "apps" / "meter" / "releases" / release
    assert {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files
    assert (folder / "model.tflite").stat().st_nlink == 2
    each_agent.make_current("meter", release)
    assert os.readlink(each_agent.root / "apps" / "meter" / "current") == "releases/" + release
    (app,) = each_agent.ask("store.status", app=None)["apps"]
    assert app.pop("since").endswith("Z")
    assert app == {
        "name": "meter",
        "current": release,
        "previous": None,
        "whole": True,
        "releases": [release],
        "bytes": sum(map(len, CONTENTS.values())),
        "target": "rpi4",
        "state": "committed",
        "why": None,
        "by": "test",
        "next": None,
        "signer": None,
        "key": None,
        "serial": None,
        "untrusted": None,
    }
    assert each_agent.refuse("store.rollback", app="meter")["kind"] == "state"


def test_there_and_back(each_agent: Agent) -> None:
    old, new = each_agent.deploy("meter", {"a": b"1"}), each_agent.deploy("meter", {"a": b"2"})
    each_agent.make_current("meter", old)
    each_agent.make_current("meter", new)
    back = each_agent.ask("store.rollback", app="meter")
    assert (back["release"], back["previous"]) == (old, new)
    (app,) = each_agent.ask("store.status", app="meter")["apps"]
    assert (app["current"], app["previous"], app["releases"]) == (old, new, sorted([old, new]))
    assert each_agent.ask("store.status", app="other")["apps"] == []


def test_a_damaged_blob_is_not_made_a_release(agent: Agent) -> None:
    release, files = bundle(CONTENTS)
    for data in files.values():
        agent.push(data)
    blob = agent.root / "blobs" / "sha256" / entries({"": CONTENTS["model.tflite"]})[0]["sha256"]
    blob.chmod(0o644)
    blob.write_bytes(b"Weights" * 100)
    assert agent.refuse("store.stage", app="meter", release=release, files=entries(files))["kind"] == "mismatch"
    assert not blob.exists()
    assert not (agent.root / "apps").exists()
    assert agent.refuse("store.stage", app="meter", release=release, files=entries(files))["kind"] == "state"
    agent.push(CONTENTS["model.tflite"])
    assert agent.ask("store.stage", app="meter", release=release, files=entries(files))["staged"]


def test_a_damaged_release_is_made_again(agent: Agent) -> None:
    release = agent.deploy("meter", CONTENTS)
    model = agent.root / "apps" / "meter" / "releases" / release / "model.tflite"
    model.unlink()
    model.write_bytes(b"")  # what a power cut leaves
    refused = agent.refuse("deploy.activate", app="meter", release=release, deployment="0" * 16)
    assert (refused["kind"], "0 of 700 bytes" in refused["message"]) == ("state", True)
    assert agent.deploy("meter", CONTENTS) == release
    assert model.read_bytes() == CONTENTS["model.tflite"]
    agent.make_current("meter", release)


def test_the_manifest_and_the_job_must_agree(agent: Agent) -> None:
    release, files = bundle(CONTENTS)
    for data in [*files.values(), b"more"]:
        agent.push(data)
    for listed in ({**files, "more": b"more"}, {path: data for path, data in files.items() if path != "plan.json"}):
        assert agent.refuse("store.stage", app="meter", release=release, files=entries(listed))["kind"] == "mismatch"
    assert agent.refuse("store.stage", app="meter", release="0" * 64, files=entries(files))["kind"] == "mismatch"


def test_two_agents_do_not_change_one_root(agent: Agent) -> None:
    release = agent.deploy("meter", CONTENTS)
    with disk.locked(str(agent.root)):
        refused = agent.refuse("deploy.activate", app="meter", release=release, deployment="0" * 16)
    assert (refused["kind"], "another" in refused["message"]) == ("busy", True)
    agent.make_current("meter", release)


def test_without_hard_links_it_copies(tmp_path: Path, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    release, files = bundle(CONTENTS)
    for data in files.values():
        agent.push(data)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "no links on this file system")

    monkeypatch.setattr(os, "link", refuse)
    store.stage({"app": "meter", "release": release, "files": entries(files)}, str(agent.root), quiet)
    assert store.whole(str(agent.root), "meter", release, digests=True) is None
    assert (agent.root / "apps" / "meter" / "releases" / release / "model.tflite").stat().st_nlink == 1


def test_what_a_cut_left_is_swept(agent: Agent) -> None:
    agent.deploy("meter", CONTENTS)
    left = agent.root / "apps" / "meter" / "releases" / ".stage-left"
    left.mkdir()
    (left / "half").write_bytes(b"")
    agent.deploy("meter", {"other": b"1"})
    assert not left.exists()


plain = st.fixed_dictionaries({"path": st.text("ab./", max_size=5), "sha256": st.just("0" * 64), "bytes": st.integers(-1, 5)})


@given(st.lists(plain | st.dictionaries(st.sampled_from(["path", "sha256", "bytes"]), st.none() | st.integers() | st.text()), max_size=4))
def test_a_list_of_files_is_sound_or_refused(listed: list[Any]) -> None:
    try:
        files = store.file_list(listed)
    except AgentError:
        return
    assert len(files) == len(listed) >= 1
    for path in files:
        assert os.path.normpath("/below/" + path) == "/below/" + path
        assert not any(other.startswith(path + "/") for other in files)


def test_a_root_that_is_a_link_serves(each_agent: Agent, tmp_path: Path) -> None:
    for name in ("real", "blobs elsewhere"):
        (tmp_path / name).mkdir()
    each_agent.root.symlink_to(tmp_path / "real")
    (tmp_path / "real" / "blobs").symlink_to(tmp_path / "blobs elsewhere")
    release = each_agent.deploy("meter", CONTENTS)
    each_agent.make_current("meter", release)
    (app,) = each_agent.ask("store.status", app="meter")["apps"]
    assert (app["current"], app["whole"]) == (release, True)
    assert (tmp_path / "real" / "apps" / "meter" / "current" / "model.tflite").read_bytes() == CONTENTS["model.tflite"]


def test_an_agent_waits_for_another_one(agent: Agent) -> None:
    release, files = bundle(CONTENTS)
    agent.deploy("meter", CONTENTS)
    with disk.locked(str(agent.root)):
        line = wire.encode_job("store.stage", str(agent.root), {"app": "meter", "release": release, "files": entries(files)})
        waiting = subprocess.Popen(agent.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert waiting.stdin is not None
        waiting.stdin.write(line)
        waiting.stdin.close()
        time.sleep(1)
        assert waiting.poll() is None
    assert waiting.stdout is not None
    assert wire.decode_event(waiting.stdout.read())["event"] == "result"
    assert waiting.wait(20) == 0
    waiting.stdout.close()


def test_mending_leaves_nothing_beside(agent: Agent) -> None:
    release = agent.deploy("meter", CONTENTS)
    folder = agent.root / "apps" / "meter" / "releases"
    kept = (folder / release).stat().st_ino
    (folder / release / "golden" / "samples.npz").unlink()
    agent.deploy("meter", CONTENTS)
    assert [path.name for path in folder.iterdir()] == [release]
    assert (folder / release).stat().st_ino == kept
