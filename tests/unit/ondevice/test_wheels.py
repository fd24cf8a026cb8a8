"""Installing a runtime from wheels. The wheels here are small ones made for the test; the real one is LiteRT's own, when it can be had."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from typing import Any

import pytest

from edgekit.ondevice import disk
from edgekit.ondevice.wheels import folder_name

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


def folder(lock: str, wheels: list[dict[str, Any]]) -> str:
    return folder_name(lock, [wheel["sha256"] for wheel in wheels])


def test_a_runtime_is_installed_and_chosen(each_agent: Agent) -> None:
    wheels = [
        wheel(each_agent, "tflite_runtime-2.14.0-py3-none-any.whl", RUNTIME),
        wheel(each_agent, "helper-1.0-py3-none-any.whl", LIBRARY),
    ]
    answer = each_agent.ask("runtime.install", lock="tflite-2.14", wheels=wheels)
    name = folder("tflite-2.14", wheels)
    runtime = {"kind": "tflite", "name": "tflite-runtime", "version": "2.14.0", "lock": name, "error": None}
    assert answer == {"lock": name, "installed": True, "runtime": runtime, "removed": []}
    runtimes = each_agent.root / "runtimes"
    assert os.readlink(runtimes / "current") == name
    assert sorted(path.name for path in runtimes.iterdir()) == ["current", name]
    assert (runtimes / name / "helper_native.py").is_file()
    assert not list((runtimes / name).rglob("run"))
    assert not list((each_agent.root / "blobs" / "sha256").iterdir())  # unpacked, they would only take room
    assert each_agent.ask("facts")["runtimes"][0] == runtime
    assert each_agent.ask("runtime.install", lock="tflite-2.14", wheels=wheels)["installed"] is False


def test_each_kind_of_runtime_has_its_own(each_agent: Agent) -> None:
    tflite = [wheel(each_agent, "a-1-py3-none-any.whl", RUNTIME), wheel(each_agent, "b-1-py3-none-any.whl", LIBRARY)]
    each_agent.ask("runtime.install", lock="one", wheels=tflite)
    other = [wheel(each_agent, "onnxruntime-1-py3-none-any.whl", {"onnxruntime/__init__.py": ""})]
    each_agent.ask("runtime.install", lock="two", wheels=other)
    installed = [(entry["kind"], entry["lock"]) for entry in each_agent.ask("facts")["runtimes"] if entry["lock"]]
    one, two = folder("one", tflite), folder("two", other)
    assert installed == [("tflite", one), ("onnxruntime", two)]
    links = {link.name: os.readlink(link) for link in (each_agent.root / "runtimes").iterdir() if link.is_symlink()}
    assert links == {"current": one, "current-onnxruntime": two}


def pair(agent: Agent, *, helper: str = "1") -> list[dict[str, Any]]:
    """Push a runtime that imports; ``helper`` makes it another one."""
    library = {**LIBRARY, "helper-1.0.data/purelib/more.py": helper}
    return [wheel(agent, "a-1-py3-none-any.whl", RUNTIME), wheel(agent, "b-1-py3-none-any.whl", library)]


def test_a_runtime_that_does_not_import_is_removed(agent: Agent) -> None:
    good = pair(agent)
    agent.ask("runtime.install", lock="good", wheels=good)
    refused = agent.refuse("runtime.install", lock="bad", wheels=pair(agent)[:1])
    assert (refused["kind"], "helper_library" in refused["message"]) == ("runtime-failed", True)
    crash = [wheel(agent, "a-1-py3-none-any.whl", {**RUNTIME, "tflite_runtime/interpreter.py": "import os; os.abort()"})]
    assert "signal 6" in agent.refuse("runtime.install", lock="bad", wheels=crash)["message"]
    assert agent.refuse("runtime.install", lock="bad", wheels=pair(agent)[1:])["kind"] == "runtime-failed"
    name = folder("good", good)
    assert sorted(path.name for path in (agent.root / "runtimes").iterdir()) == ["current", name]
    assert os.readlink(agent.root / "runtimes" / "current") == name


def test_a_damaged_one_is_mended(agent: Agent) -> None:
    good = pair(agent)
    runtime = agent.root / "runtimes" / agent.ask("runtime.install", lock="good", wheels=good)["lock"]
    (runtime / "helper_native.py").rename(runtime / "hidden")
    agent.refuse("runtime.install", lock="good", wheels=good)  # its wheels did not come again
    assert (runtime / "hidden").is_file()
    handle = disk.hold(str(runtime))
    refused = agent.refuse("runtime.install", lock="good", wheels=pair(agent))
    assert (refused["kind"], "a program is running with it" in refused["message"]) == ("state", True)
    assert (runtime / "hidden").is_file()
    os.close(handle)
    assert agent.ask("runtime.install", lock="good", wheels=pair(agent))["installed"]
    assert agent.ask("facts")["runtimes"][0]["error"] is None
    assert sorted(path.name for path in runtime.parent.iterdir()) == ["current", runtime.name]


def test_what_nobody_uses_is_removed(each_agent: Agent) -> None:
    """A changed lock is another folder; one that a running program holds stays until it has ended."""
    runtimes = each_agent.root / "runtimes"
    first = each_agent.ask("runtime.install", lock="good", wheels=pair(each_agent))["lock"]
    (runtimes / "old-lock").mkdir()  # as the edgekit before this one named them
    (runtimes / "half.tmp").mkdir()
    handle = disk.hold(str(runtimes / first))
    answer = each_agent.ask("runtime.install", lock="good", wheels=pair(each_agent, helper="2"))
    second = answer["lock"]
    assert (answer["removed"], first == second) == (["old-lock"], False)
    assert sorted(path.name for path in runtimes.iterdir()) == sorted(["current", first, second])
    os.close(handle)
    assert each_agent.ask("runtime.install", lock="good", wheels=pair(each_agent, helper="2"))["removed"] == [first]
    assert sorted(path.name for path in runtimes.iterdir()) == ["current", second]


def test_what_the_edgekit_before_installed_is_used_until_then(each_agent: Agent) -> None:
    runtimes = each_agent.root / "runtimes"
    name = each_agent.ask("runtime.install", lock="good", wheels=pair(each_agent))["lock"]
    (runtimes / name).rename(runtimes / "tflite-2.14")
    (runtimes / "current").unlink()
    (runtimes / "current").symlink_to("tflite-2.14")
    found = each_agent.ask("facts")["runtimes"][0]
    assert (found["lock"], found["error"]) == ("tflite-2.14", None)


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
