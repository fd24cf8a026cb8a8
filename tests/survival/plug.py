"""Boards that are whole machines: the plug is pulled in the middle of a deployment, the machine started again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgekit.device import Address, Device
from edgekit.pipeline.provision import set_up
from tests.integration.conftest import Lab, make_lab
from tests.survival.image import Image, make_image
from tests.survival.machine import Machine
from tests.survival.material import Sample
from tests.survival.strike import Strike, Tally, boundaries, inside_child, run_case

__all__ = ["MachineBoard", "plugged", "run_plug"]

DEADLINE_S = {"arm64": 180.0, "uml": 10.0}
"""How long a release has to prove itself: an emulated machine needs its time, with other work beside it a minute."""

DEPLOYED_AFTER = 0.25
"""In so many cases a whole deployment follows; in the others settling, with which each begins."""


@dataclass
class MachineBoard:
    """See `tests.survival.strike.Board`.

    Attributes
    ----------
    host_dies
        The host loses its power with the board; else it may come again and go on.
    recovers
        The machine's start-up runs ``~/.edgekit/boot``.
    """

    machine: Machine
    device: Device
    deadline_s: float
    host_dies: bool = True
    recovers: bool = False

    def strike(self, host_pid: int) -> None:
        """Pull the plug; where the host lives on, the machine starts at once."""
        self.machine.cut()
        if self.host_dies:
            os.kill(host_pid, signal.SIGKILL)
        else:
            self.machine.start(recover=self.recovers)

    def recover(self) -> None:
        """Start the machine that is off."""
        if self.machine.process is None:
            self.machine.start(recover=self.recovers)


@contextmanager
def plugged(kind: str, folder: Path) -> Iterator[MachineBoard]:
    """Run one machine that has its runtime; the image and the runtime are made once and kept."""
    image = make_image(kind)
    lab = make_lab(folder)
    lab.configure(f"Host *\n  IdentityFile {image.key}\n")
    machine = Machine(image, folder / "machine", _provisioned(image, lab))
    try:
        machine.start()
        yield MachineBoard(machine, _device(machine, lab), DEADLINE_S[kind])
    finally:
        machine.cut()


def _device(machine: Machine, lab: Lab) -> Device:
    where = machine.host if machine.port == 22 else f"[{machine.host}]:{machine.port}"
    kind, key, *_ = Path(f"{machine.image.host_key}.pub").read_text().split()
    with lab.known_hosts.open("a") as file:
        file.write(f"{where} {kind} {key}\n")
    return Device(name="board", address=Address(host=machine.host, user="root", port=machine.port), root="~/.edgekit")


def _provisioned(image: Image, lab: Lab) -> Path:
    """Return the disk of a machine that was set up as any board is, and switched off."""
    disk = image.folder / "provisioned"
    if not disk.exists():
        machine = Machine(image, lab.folder / "provisioning")
        try:
            machine.start()
            device = _device(machine, lab)
            inside_child(lambda: set_up(device).machine)
            words = ["ssh", "-F", str(lab.config), "-p", str(machine.port), f"root@{machine.host}", "sync"]
            subprocess.run(words, timeout=120, check=True)
            machine.cut()
            shutil.copy(machine.disk, disk.with_suffix(".new"))
            disk.with_suffix(".new").rename(disk)
        finally:
            machine.cut()
    return disk


def run_plug(
    samples: list[Sample],
    board: MachineBoard,
    *,
    count: int,
    seed: int,
    every_boundary: bool = False,
    end_s: float = float("inf"),
    told: Callable[[str], None] = lambda _: None,
) -> Tally:
    """Pull the plug at every boundary of one good bundle's deployment, if asked for, then at so many random moments over all bundles."""
    draw, tally = random.Random(seed), Tally()
    hooked = [sample for sample in samples if sample.kind == "hooks"]
    usual = boundaries(hooked[0], board)
    told(f"a deployment has {len(usual.boundaries)} boundaries and takes {usual.seconds:.1f} s")
    moments = []
    if every_boundary:  # the twins take turns, so that the switch goes from one release to another
        moments += [(hooked[(number + 1) % 2], Strike(boundary=number)) for number in range(len(usual.boundaries))]
    moments += [(draw.choice(samples), Strike(after_s=draw.uniform(0, usual.seconds))) for _ in range(count)]
    for number, (sample, strike) in enumerate(moments):
        if time.monotonic() > end_s:
            break
        board.host_dies, board.recovers = draw.random() < 0.7, draw.random() < 0.5
        other = [one for one in samples if one.good and one.digest != sample.digest]
        following = draw.choice(other) if draw.random() < DEPLOYED_AFTER else None
        how, wrong = run_case(sample, following, board, strike)
        where = f"{sample.kind} at {strike} ({how.boundaries[-1:]}), host dies: {board.host_dies}, boot: {board.recovers}"
        tally.add(f"{board.machine.image.kind}, {'boundary' if strike.boundary is not None else 'random'}", how, wrong, where)
        if wrong or number % 5 == 4:
            told(f"{number + 1} of {len(moments)}: {tally.cases}, {tally.ends}, {len(tally.violations)} violations {wrong}")
    return tally
