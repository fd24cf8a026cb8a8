"""Hooks are commands on a board: what a project may declare, and whose hooks are let through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgekit.bundle import list_files, open_bundle, write_bundle
from edgekit.errors import DeployError, InputError
from edgekit.health import Health, Hook
from edgekit.pipeline.hooks import check_hooks, declare
from edgekit.project import DeploySection
from tests.unit.bundles import FILES, small_manifest

OURS = DeploySection(restart=("systemctl", "--user", "restart", "x"), health=("./check.sh", "--fast"), latency_p99_ms=5.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "check.sh").write_text("#!/bin/sh\n")
    return tmp_path


def test_what_a_project_declares(folder: Path) -> None:
    declared = declare(OURS, folder)
    assert declared.health == Health(
        latency_p99_ms=5.0,
        restart=Hook(("systemctl", "--user", "restart", "x"), 60.0),
        check=Hook(("./check.sh", "--fast"), 60.0),
    )
    assert declared.files == {"hooks/check.sh": b"#!/bin/sh\n"}
    assert declare(DeploySection(), folder).health == Health()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "a list of words"),
        (("true", ""), "none of them empty"),
        (("./none.sh",), "is no regular file"),
        (("./link.sh",), "is no regular file"),
        (("./large.sh",), "more than 1048576 bytes"),
        (("./../check.sh",), "cannot be a name in a bundle"),
        (("./sub/check.sh",), "cannot be a name in a bundle"),
        (("./a b.sh",), "cannot be a name in a bundle"),
    ],
)
def test_what_a_project_may_not_declare(folder: Path, words: tuple[str, ...], message: str) -> None:
    (folder / "link.sh").symlink_to("check.sh")
    (folder / "large.sh").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(InputError, match=message) as caught:
        declare(DeploySection(health=words), folder)
    assert "[deploy] health" in caught.value.message


@pytest.mark.parametrize(
    ("change", "script", "refused"),
    [
        ({}, b"#!/bin/sh\n", False),
        ({"latency_p99_ms": 0.1}, b"#!/bin/sh\n", False),
        ({"restart": None}, b"#!/bin/sh\n", False),
        ({"check": Hook(("./check.sh", "--slow"))}, b"#!/bin/sh\n", True),
        ({"check": Hook(("./check.sh", "--fast"), 61.0)}, b"#!/bin/sh\n", True),
        ({"restart": Hook(("sh", "-c", "true"))}, b"#!/bin/sh\n", True),
        ({}, b"#!/bin/sh\nrm -rf ~\n", True),
    ],
    ids=["same", "ceiling", "fewer", "words", "time", "command", "program"],
)
def test_hooks_that_nobody_vouches_for_must_be_the_projects(folder: Path, change: dict[str, Any], script: bytes, refused: bool) -> None:
    files = {**FILES, "hooks/check.sh": script}
    health = msgspec.structs.replace(declare(OURS, folder).health, **change)
    path = write_bundle(msgspec.structs.replace(small_manifest(), health=health, files=list_files(files)), files, folder)
    with open_bundle(path) as bundle:
        if not refused:
            check_hooks(bundle, OURS, folder)
            return
        with pytest.raises(DeployError, match="no signature vouches for it") as caught:
            check_hooks(bundle, OURS, folder)
        assert "edgekit sign" in str(caught.value.fix)


def test_without_a_project_there_are_no_hooks_of_ours(folder: Path) -> None:
    health = Health(restart=Hook(("true",)))
    path = write_bundle(msgspec.structs.replace(small_manifest(), health=health), FILES, folder)
    with open_bundle(path) as bundle, pytest.raises(DeployError, match="hook restart runs 'true'"):
        check_hooks(bundle, OURS, None)
    with open_bundle(write_bundle(small_manifest(), FILES, folder)) as bundle:
        check_hooks(bundle, OURS, None)
