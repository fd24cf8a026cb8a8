"""The plug of a whole machine pulled twice. Many times: ``python -m tests.survival --uml 200 --arm64 20``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.survival import image, machine
from tests.survival.material import Sample
from tests.survival.plug import plugged
from tests.survival.strike import Strike, run_case

pytestmark = [pytest.mark.vm, pytest.mark.slow]


def test_a_machine_without_power_comes_again_whole(samples: dict[str, Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := machine.lacks("uml") or image.missing():
        pytest.skip(reason)
    folder = tmp_path / "lab"
    folder.mkdir()
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(folder / "ssh_config"))
    with plugged("uml", folder) as board:
        board.recovers = True
        for sample, at in ((samples["plain"], "before store.stage"), (samples["hooks"], "after deploy.activate")):
            told, wrong = run_case(sample, samples["plain-2"], board, Strike(at=at))
            assert wrong == []
            assert (told.code, told.boundaries[-1]) == (None, at)
