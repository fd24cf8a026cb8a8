"""Two hosts deploy different bundles to one board at the same time."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import pytest

from edgekit.errors import BusyError
from edgekit.pipeline.releases import status
from tests.survival.look import look
from tests.survival.loopback import LoopbackBoard, serve
from tests.survival.material import Sample
from tests.survival.strike import struck

_FORK = multiprocessing.get_context("fork")


def _rival(sample: Sample, board: LoopbackBoard, pipe: Pipe) -> None:
    pipe.send(struck(sample, board, None))


@pytest.mark.sshd
def test_one_wins_and_the_other_is_told(samples: dict[str, Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "lab"
    folder.mkdir()
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(folder / "ssh_config"))
    rivals = samples["plain"], samples["hooks"]
    with serve(folder) as board:
        board.deadline_s = 120.0
        pipes = [_FORK.Pipe() for _ in rivals]
        hosts = [_FORK.Process(target=_rival, args=(sample, board, far)) for sample, (_, far) in zip(rivals, pipes, strict=True)]
        for host in hosts:
            host.start()
        told = [near.recv() for near, _ in pipes]
        for host in hosts:
            host.join()
        codes = [one.code for one in told]
        assert 0 in codes, told
        assert set(codes) <= {0, BusyError.exit_code}, told
        (app,) = status(board.device).apps
        assert (app.state, app.whole) == ("committed", True)
        assert app.current in {sample.digest for sample, code in zip(rivals, codes, strict=True) if code == 0}
        root = Path(board.device.root).expanduser()
    assert look(str(root))[app.name]["wrong"] is None
