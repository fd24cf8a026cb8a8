"""Bundles of every kind, made of one build of the demo."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.command import DEMO, edgekit
from tests.survival.material import KINDS, Sample, make

_MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, built for this machine."""
    folder = tmp_path_factory.mktemp("built") / "demo"
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("build"))
    said = edgekit("build", "--target", "local", "--json", cwd=folder)
    assert said.code == 0, said
    return Path(said.document["bundle"])


@pytest.fixture(scope="session")
def samples(built: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sample]:
    """One bundle of each kind but the large one, and two more of the plain kind."""
    folder = tmp_path_factory.mktemp("samples")
    found = {kind: make(built, kind, 0, folder) for kind in KINDS if kind != "large"}
    return {**found, **{f"plain-{number}": make(built, "plain", number, folder) for number in (2, 3)}}


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory, where syncing costs nothing."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        yield Path(folder)
