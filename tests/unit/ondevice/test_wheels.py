"""Installing a runtime from wheels. The wheels here are small ones made for the test; the real one is LiteRT's own, when it can be had."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from typing import Any

import pytest

from .conftest import Agent

RUNTIME = {
    "tflite_runtime/__init__.py": "",
    "tflite_runtime/interpreter.py": "import helper_library\nclass Interpreter: pass\n",
    "tflite_runtime-2.14.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tflite-runtime\nVersion: 2.14.0\n",
}
LIBRARY = {
    "helper-1.0.data/purelib/helper_library/__init__.py": "from helper_native import answer\n",
    "helper-1.0.data/platlib/helper_native.py": "answer = 42\n",
    "helper-1.0.data/scripts/run": "#!python\n",
}


def wheel(agent: Agent, name: str, members: dict[str, str], mode: int = 0) -> dict[str, Any]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in members.items():
            info = zipfile.ZipInfo(path)
            info.external_attr = mode << 16
            archive.writestr(info, text)
    data = buffer.getvalue()
    agent.push(data)
    return {"name": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def test_a_runtime_is_installed_and_chosen(each_agent: Agent) -> None:
    wheels = [
        wheel(each_agent, "tflite_runtime-2.14.0-py3-none-any.whl", RUNTIME),
        wheel(each_agent, "helper-1.0-py3-none-any.whl", LIBRARY),
    ]
    answer = each_agent.ask("runtime.install", lock="tflite-2.14", wheels=wheels)
    runtime = {"kind": "tflite", "name": "tflite-runtime", "version": "2.14.0", "lock": "tflite-2.14", "error": None}
    assert answer == {"lock": "tflite-2.14", "installed": True, "runtime": runtime}
    runtimes = each_agent.root / "runtimes"
    assert os.readlink(runtimes / "current") == "tflite-2.14"
    assert sorted(path.name for path in runtimes.iterdir()) == ["current", "tflite-2.14"]
    assert (runtimes / "tflite-2.14" / "helper_native.py").is_file()
    assert not list((runtimes / "tflite-2.14").rglob("run"))
    assert each_agent.ask("facts")["runtimes"][0] == runtime
    assert each_agent.ask("runtime.install", lock="tflite-2.14", wheels=wheels)["installed"] is False


def test_each_kind_of_runtime_has_its_own(each_agent: Agent) -> None:
    tflite = [wheel(each_agent, "a-1-py3-none-any.whl", RUNTIME), wheel(each_agent, "b-1-py3-none-any.whl", LIBRARY)]
    each_agent.ask("runtime.install", lock="one", wheels=tflite)
    other = [wheel(each_agent, "onnxruntime-1-py3-none-any.whl", {"onnxruntime/__init__.py": ""})]
    each_agent.ask("runtime.install", lock="two", wheels=other)
    installed = [(entry["kind"], entry["lock"]) for entry in each_agent.ask("facts")["runtimes"] if entry["lock"]]
    assert installed == [("tflite", "one"), ("onnxruntime", "two")]
    links = {link.name: os.readlink(link) for link in (each_agent.root / "runtimes").iterdir() if link.is_symlink()}
    assert links == {"current": "one", "current-onnxruntime": "two"}


def test_a_runtime_that_does_not_import_is_removed(agent: Agent) -> None:
    good = [wheel(agent, "a-1-py3-none-any.whl", RUNTIME), wheel(agent, "b-1-py3-none-any.whl", LIBRARY)]
    agent.ask("runtime.install", lock="good", wheels=good)
    refused = agent.refuse("runtime.install", lock="bad", wheels=good[:1])
    assert (refused["kind"], "helper_library" in refused["message"]) == ("runtime-failed", True)
    crash = [wheel(agent, "a-1-py3-none-any.whl", {**RUNTIME, "tflite_runtime/interpreter.py": "import os; os.abort()"})]
    assert "signal 6" in agent.refuse("runtime.install", lock="bad", wheels=crash)["message"]
    assert agent.refuse("runtime.install", lock="bad", wheels=good[1:])["kind"] == "runtime-failed"
    assert sorted(path.name for path in (agent.root / "runtimes").iterdir()) == ["current", "good"]
    assert os.readlink(agent.root / "runtimes" / "current") == "good"


def test_what_stands_there_goes_only_for_one_that_works(agent: Agent) -> None:
    good = [wheel(agent, "a-1-py3-none-any.whl", RUNTIME), wheel(agent, "b-1-py3-none-any.whl", LIBRARY)]
    agent.ask("runtime.install", lock="good", wheels=good)
    folder = agent.root / "runtimes" / "good"
    (folder / "helper_native.py").rename(folder / "hidden")
    for bad in (good[:1], [{**good[0], "sha256": "0" * 64}]):
        agent.refuse("runtime.install", lock="good", wheels=bad)
        assert (folder / "hidden").is_file()
    (folder / "hidden").rename(folder / "helper_native.py")
    assert agent.ask("facts")["runtimes"][0]["error"] is None
    (folder / "helper_native.py").unlink()
    assert agent.ask("runtime.install", lock="good", wheels=good)["installed"]
    assert agent.ask("facts")["runtimes"][0]["lock"] == "good"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["current", "good"]


@pytest.mark.parametrize("members", [["a", "a/b"], ["a/b", "a"], ["x" * 300], ["a/" * 2500 + "b"]], ids=["through", "over", "name", "path"])
def test_members_that_cannot_stand_together_are_refused(agent: Agent, members: list[str]) -> None:
    bad = wheel(agent, "a-1-py3-none-any.whl", dict.fromkeys(members, "text"))
    assert agent.refuse("runtime.install", lock="bad", wheels=[bad])["kind"] == "input"
    assert list((agent.root / "runtimes").iterdir()) == []


@pytest.mark.parametrize("path", ["../evil", "/evil", "a/../../evil", "a//evil", "./evil", "a\\..\\evil", "x.data/purelib/../../evil"])
def test_a_member_that_climbs_is_refused(agent: Agent, path: str) -> None:
    bad = wheel(agent, "a-1-py3-none-any.whl", {"fine.py": "", path: "evil"})
    assert agent.refuse("runtime.install", lock="bad", wheels=[bad])["kind"] == "input"
    assert not [path for path in agent.root.parent.rglob("*") if path.name.endswith("evil")]
    assert list((agent.root / "runtimes").iterdir()) == []


def test_a_link_is_refused(agent: Agent) -> None:
    bad = wheel(agent, "a-1-py3-none-any.whl", {"link": "/etc/passwd"}, mode=0o120777)
    assert agent.refuse("runtime.install", lock="bad", wheels=[bad])["kind"] == "input"


def test_what_is_no_wheel_is_refused(agent: Agent) -> None:
    digest = agent.push(b"no zip")
    entry = {"name": "a-1-py3-none-any.whl", "sha256": digest, "bytes": 6}
    assert agent.refuse("runtime.install", lock="bad", wheels=[entry])["kind"] == "input"
    assert agent.refuse("runtime.install", lock="bad", wheels=[{**entry, "sha256": "0" * 64}])["kind"] == "state"
    assert agent.refuse("runtime.install", lock="bad", wheels=[{**entry, "name": "../a.whl"}])["kind"] == "usage"
    assert agent.refuse("runtime.install", lock="bad", wheels=["a.whl"])["kind"] == "usage"
    assert agent.refuse("runtime.install", lock="bad", wheels=[])["kind"] == "runtime-failed"
