"""Who looks without the lock sees one moment: a switch between reading ``current`` and the journal is looked at again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice import journal, releases

OLD, NEW, DEPLOYMENT = "a" * 64, "b" * 64, "c" * 16


def test_a_switch_that_comes_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = tmp_path / "apps" / "meter"
    for release in (OLD, NEW):
        (app / "releases" / release).mkdir(parents=True)
    root = str(tmp_path)
    releases.switch(root, "meter", OLD, None, "activated", deployment=DEPLOYMENT)
    releases.complete(root, "meter")
    read = journal.entries
    switched: list[bool] = []

    def entries(*words: Any) -> Any:
        if not switched:
            switched.append(True)
            releases.switch(root, "meter", NEW, OLD, "activated", deployment=DEPLOYMENT)
            releases.complete(root, "meter")
        return read(*words)

    monkeypatch.setattr(journal, "entries", entries)
    now = releases.standing(root, "meter")
    assert (now.state, now.current, now.entry["release"]) == ("activated", NEW, NEW)
