"""The folders that a session makes on a device: a power cut right after does not take them away again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from edgekit.devices import python


def test_every_new_folder_is_named_durably(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made: list[Path] = []
    synced: list[Path] = []
    mkdir, fsync = os.mkdir, os.fsync

    def make(path: str, mode: int) -> None:
        mkdir(path, mode)
        made.append(Path(path))

    def sync(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        fsync(handle)
        assert {path.parent for path in made} <= set(synced), "before the next folder is made"

    monkeypatch.setattr(os, "mkdir", make)
    monkeypatch.setattr(os, "fsync", sync)
    root = tmp_path / "home" / "edgekit"
    monkeypatch.setattr(sys, "argv", ["-c", str(root), "agent.pyz"])
    exec(compile(python._LOOK, "look", "exec"), {"__name__": "__main__"})
    assert made == [root.parent, root, root / "agent", root / "incoming"]
    assert {path.parent for path in made} == set(synced)
    assert '"wrong": null' in capsys.readouterr().out


def test_a_file_in_a_folder_s_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "agent").touch()
    monkeypatch.setattr(sys, "argv", ["-c", str(tmp_path), "agent.pyz"])
    with pytest.raises(FileExistsError):
        exec(compile(python._LOOK, "look", "exec"), {"__name__": "__main__"})
