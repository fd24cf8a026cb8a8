"""The order of a roll-out: what is begun, what stops it, what is left alone when it goes on. A crew that gives prepared outcomes stands in
for boards; `tests/integration/test_fleet.py` has real ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest

from edgekit.bundle import Bundle, open_bundle
from edgekit.device import Address, Device
from edgekit.errors import BusyError, UsageError
from edgekit.pipeline import Progress
from edgekit.pipeline.ledger import open_ledger
from edgekit.pipeline.outcome import Outcome
from edgekit.pipeline.phase import Plan
from edgekit.pipeline.rollout import Change, Rollout, roll_out
from tests.unit.bundles import write_small_bundle

DEPLOY, BUSY, INCONSISTENT, INTERRUPT = 6, 9, 7, -1


class Script:
    """Gives each board its codes one after the other; the last one stays."""

    def __init__(self, codes: Mapping[str, Sequence[int]]) -> None:
        self.codes = {name: list(given) for name, given in codes.items()}
        self.begun: list[str] = []
        self.doubted: list[str] = []
        self.names: dict[str, list[str]] = {}

    def start(self, device: Device, *, name: str, doubt: bool, progress: Progress) -> Future[Outcome]:
        self.begun.append(device.name)
        self.names.setdefault(device.name, []).append(name)
        if doubt:
            self.doubted.append(device.name)
        left = self.codes.get(device.name, [0])
        code = left.pop(0) if len(left) > 1 else left[0]
        if code == INTERRUPT:
            raise KeyboardInterrupt
        progress("send", 1, 2)
        future: Future[Outcome] = Future()
        future.set_result(Outcome(code=code, error="DeployError" if code else None, message="no" if code else None))
        return future


def boards(count: int) -> list[Device]:
    return [Device(name=f"b{number}", address=Address(f"host{number}")) for number in range(count)]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_small_bundle(tmp_path / "build")


def run(
    bundle: Bundle, crew: Script, plan: Plan | None = None, *, count: int = 6, resume: bool = False, said: list[Change] | None = None
) -> Rollout:
    listener = (said if said is not None else []).append
    plan = plan or Plan(parallel=2)
    return roll_out(bundle, boards(count), crew, plan, listener, to="rack", resume=resume, again="edgekit deploy --resume")


@pytest.mark.parametrize(
    ("codes", "plan", "begun", "code"),
    [
        ({}, Plan(), 6, 0),
        ({"b0": [DEPLOY]}, Plan(), 1, 6),  # the canary stops it
        ({"b0": [DEPLOY]}, Plan(max_failures=1), 6, 6),  # that many may fail, but it did not go well
        ({"b1": [DEPLOY]}, Plan(parallel=1), 2, 6),  # in the middle of a phase, too
        ({"b1": [DEPLOY], "b2": [INCONSISTENT]}, Plan(parallel=1, max_failures=1), 3, 7),
        ({"b0": [BUSY, 0]}, Plan(), 7, 0),  # once more at the end of its phase
        ({"b0": [BUSY, BUSY]}, Plan(), 2, 9),
        ({"b2": [BUSY, 0], "b3": [DEPLOY]}, Plan(parallel=1), 4, 6),
        ({"b0": [DEPLOY], "b1": [DEPLOY]}, Plan(canary=0, max_failures=1, batch="3"), 3, 6),
    ],
)
def test_what_stops_it(bundle: Path, codes: dict[str, list[int]], plan: Plan, begun: int, code: int) -> None:
    crew = Script(codes)
    with open_bundle(bundle) as opened:
        done = run(opened, crew, plan)
    touched = [board for board in done.boards if board.outcome]
    assert (len(crew.begun), done.code) == (begun, code)
    assert done.stopped == (sum(board.state == "failed" for board in touched) > plan.max_failures)
    assert {board.name for board in touched} == set(crew.begun)


def test_phases_come_one_after_the_other(bundle: Path) -> None:
    said: list[Change] = []
    with open_bundle(bundle) as opened:
        run(opened, Script({}), Plan(batch="50%", pause_s=0.01), said=said)
    words = [change.text for change in said if not change.board]
    assert words == ["phase 1 of 3: 1 board", "pause of 0.01 s", "phase 2 of 3: 3 boards", "pause of 0.01 s", "phase 3 of 3: 2 boards"]
    begun = [change.board for change in said if change.state == "running"]
    assert begun == ["b0", "b1", "b2", "b3", "b4", "b5"]


def test_resume_leaves_alone_what_is_done_and_tries_again_what_failed(bundle: Path) -> None:
    with open_bundle(bundle) as opened:
        run(opened, Script({"b2": [DEPLOY]}), Plan(parallel=1))
        crew = Script({})
        done = run(opened, crew, Plan(parallel=1), resume=True)
        assert crew.begun == ["b2", "b3", "b4", "b5"]
        assert crew.doubted == []
        assert [board.state for board in done.boards] == ["done"] * 6
        assert done.code == 0
        with pytest.raises(UsageError, match="is unfinished"):
            run(opened, Script({}), resume=True)


def test_an_interruption_carries_the_command_and_leaves_a_doubt(bundle: Path) -> None:
    with open_bundle(bundle) as opened:
        lost, crew = Script({"b2": [INTERRUPT]}), Script({})
        with pytest.raises(KeyboardInterrupt, match="edgekit deploy --resume"):
            run(opened, lost, Plan(parallel=1))
        run(opened, crew, Plan(parallel=1), resume=True, count=7)
    assert crew.begun == ["b2", "b3", "b4", "b5", "b6"], "who has joined since comes too"
    assert crew.doubted == ["b2"]
    assert crew.names["b2"] == lost.names["b2"], "the board goes on with what it was doing"


def test_a_new_roll_out_gives_up_the_unfinished_one(bundle: Path) -> None:
    with open_bundle(bundle) as opened:
        run(opened, Script({"b0": [DEPLOY]}))
        assert run(opened, Script({})).code == 0
        with pytest.raises(UsageError, match="is unfinished"):
            run(opened, Script({}), resume=True)


HOLD = """
import sys
from edgekit.pipeline.ledger import open_ledger
with open_ledger("meter", "rack"):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time(bundle: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(BusyError, match="another edgekit on this machine rolls out meter to rack"), open_ledger("meter", "rack"):
            pass
        with open_ledger("meter", "bench"), open_ledger("other", "rack"):
            pass
        other.kill()
        other.wait()
        with open_ledger("meter", "rack"):
            pass
        other.stdin.close()
