"""Boards that are real OpenSSH servers on loopback: the host is killed, or the server's session with all that runs in it."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edgekit.device import Device
from tests.integration.conftest import Sshd, make_lab
from tests.survival.material import Sample
from tests.survival.strike import Strike, Tally, boundaries, run_case

__all__ = ["LoopbackBoard", "run_loopback", "serve"]

DEADLINE_S = 10.0


@dataclass
class LoopbackBoard:
    """See `tests.survival.strike.Board`."""

    server: Sshd
    device: Device
    kills: str
    deadline_s: float = DEADLINE_S

    def strike(self, host_pid: int) -> None:
        """Kill the host, or all that the server has started and not let go of."""
        if self.kills == "host":
            os.kill(host_pid, signal.SIGKILL)
            return
        for pid in _descendants(self.server.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def recover(self) -> None:
        """Nothing is broken."""


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            words = entry.read_text().rpartition(")")[2].split()
            parents.setdefault(int(words[1]), []).append(int(entry.parent.name))
    found = list(parents.get(pid, []))
    for child in found:
        found += parents.get(child, [])
    return found


@contextmanager
def serve(folder: Path) -> Iterator[LoopbackBoard]:
    """Run one board."""
    lab = make_lab(folder)
    try:
        server = lab.serve()
        yield LoopbackBoard(server, lab.device(server.port, python=sys.executable), "host")
    finally:
        lab.stop()


def run_loopback(
    samples: list[Sample],
    board: LoopbackBoard,
    *,
    host: int,
    session: int,
    seed: int,
    every_boundary: bool = True,
    end_s: float = float("inf"),
    told: Callable[[str], None] = lambda _: None,
) -> Tally:
    """Strike at every boundary of one good bundle's deployment, if asked for, and at random moments over all; return what came of it.

    Parameters
    ----------
    host, session
        How many random moments for each.
    end_s
        No case begins after that time of `time.monotonic`.
    """
    draw, tally = random.Random(seed), Tally()
    hooked = [sample for sample in samples if sample.kind == "hooks"]
    usual = boundaries(hooked[0], board)
    told(f"a deployment has {len(usual.boundaries)} boundaries and takes {usual.seconds:.1f} s")
    moments: list[tuple[str, Sample, Strike]] = []
    for kills, count in (("host", host), ("session", session)):
        if every_boundary:  # the twins take turns, so that the switch goes from one release to another
            moments += [(kills, hooked[(number + 1) % 2], Strike(boundary=number)) for number in range(len(usual.boundaries))]
        moments += [(kills, draw.choice(samples), Strike(after_s=draw.uniform(0, usual.seconds))) for _ in range(count)]
    draw.shuffle(moments)
    for number, (kills, sample, strike) in enumerate(moments):
        if time.monotonic() > end_s:
            break
        board.kills = kills
        following = draw.choice([one for one in samples if one.good and one.digest != sample.digest])
        how, wrong = run_case(sample, following, board, strike)
        where = f"{sample.kind} at {strike} ({how.boundaries[-1:]})"
        tally.add(f"{kills}, {'boundary' if strike.boundary is not None else 'random'}", how, wrong, where)
        if wrong or number % 10 == 9:
            told(f"{number + 1} of {len(moments)}: {tally.cases}, {tally.ends}, {len(tally.violations)} violations {wrong}")
    return tally
