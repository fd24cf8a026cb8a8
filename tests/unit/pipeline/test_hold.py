"""Which boards will do for a run, and which target is built for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import InputError, UsageError
from edgekit.inventory import find_device
from edgekit.pipeline.hold import candidates, kind_of
from edgekit.project import Project, load_project

DEVICES = """
[devices.a]
address = "pi@a"
target = "rpi4"
groups = ["rack"]
[devices.b]
address = "pi@b"
target = "rpi5"
groups = ["rack"]
[devices.c]
address = "pi@c"
"""


def project(folder: Path, ci: str = "", devices: str = DEVICES) -> Project:
    (folder / "edgekit.toml").write_text(f"{ci}\n{devices}")
    return load_project(folder / "edgekit.toml")


def names(project: Project, word: str | None = None, target: str | None = None) -> list[str]:
    return [device.name for device in candidates(project, word, target)]


def test_the_word_then_the_target_then_the_project(tmp_path: Path) -> None:
    bare = project(tmp_path)
    assert names(bare, "b") == ["b"]
    assert names(bare, "rack") == ["a", "b"]
    assert names(bare, "rack", "rpi4") == ["a", "b"], "a word is not second-guessed: the deployment refuses a board that does not fit"
    assert names(bare, target="rpi4") == ["a"]
    assert names(bare, target="rpi") == ["a", "b"], "a family stands for its kinds"
    with pytest.raises(UsageError, match="which device"):
        names(bare)
    with pytest.raises(UsageError, match="no device of the project is a jetson-orin-nano"):
        names(bare, target="jetson-orin-nano")
    with pytest.raises(UsageError, match="no group or device"):
        names(bare, "rakc")
    declared = project(tmp_path, '[ci]\ndevices = ["rack", "c"]')
    assert names(declared) == ["a", "b", "c"]
    assert names(declared, target="rpi5") == ["b"]
    assert names(declared, "c") == ["c"]
    assert names(project(tmp_path, '[ci]\ntarget = "rpi5"')) == ["b"]
    assert names(project(tmp_path, devices='[devices.only]\naddress = "local"')) == ["only"]


def test_what_is_built_for_a_board(tmp_path: Path) -> None:
    declared = project(tmp_path, '[ci]\ntarget = "rpi"\n[build]\ntarget = "rpi3"')
    boards = {name: find_device(declared, name) for name in ("a", "c", "local")}
    assert kind_of(declared, boards["a"], "rpi5") == "rpi4", "the inventory knows best"
    assert kind_of(declared, boards["c"], "rpi5") == "rpi5"
    assert kind_of(declared, boards["c"]) == "rpi", "what [ci] wants comes before what [build] does"
    bare = project(tmp_path)
    assert kind_of(bare, boards["local"]) == "local"
    with pytest.raises(UsageError, match="which target is c"):
        kind_of(bare, boards["c"])


def test_what_ci_may_be_told(tmp_path: Path) -> None:
    for wrong in ("retries = 11", "probes = []", "lease_wait_s = -1", "timeout_s = 0", "devces = []"):
        with pytest.raises(InputError, match=r"edgekit\.toml"):
            project(tmp_path, f"[ci]\n{wrong}")
