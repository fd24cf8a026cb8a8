"""Deployments over a real sshd whose host, or whose session, is killed.

Many of them: ``python -m tests.survival --host 200 --session 200``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.survival.loopback import serve
from tests.survival.material import Sample
from tests.survival.strike import Strike, run_case

pytestmark = pytest.mark.sshd


@pytest.mark.parametrize(("kills", "after"), [("host", "after deploy.activate"), ("session", "before deploy.prove")])
def test_whoever_is_killed_the_board_runs_a_whole_release(
    kills: str, after: str, samples: dict[str, Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lab"
    folder.mkdir()
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(folder / "ssh_config"))
    with serve(folder) as board:
        board.kills = kills
        told, wrong = run_case(samples["hooks"], samples["plain"], board, Strike(at=after))
    assert wrong == []
    assert after in told.boundaries
    assert (told.code is None) == (kills == "host")
