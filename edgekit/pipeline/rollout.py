"""``edgekit deploy --to``: one bundle to many boards, phase by phase, and on from where a killed host stopped.

The canaries come first, then batches. More failures than allowed, and no further board is begun; those under way end. A board that
somebody else holds is tried once more at the end of its phase. Each board's state is in the ledger before the next step, so that
``--resume`` leaves alone what is done and asks a board in doubt before it sends anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field

import msgspec

from edgekit.bundle import Bundle, damage
from edgekit.device import Device
from edgekit.errors import BusyError, DeviceError, InputError, UsageError
from edgekit.pipeline import ledger as states
from edgekit.pipeline.crew import Crew
from edgekit.pipeline.ledger import Ledger, open_ledger
from edgekit.pipeline.outcome import Outcome
from edgekit.pipeline.phase import Plan, phases, worst

__all__ = ["Board", "Change", "Listener", "Rollout", "roll_out"]

_BUSY = BusyError.exit_code


@dataclass(frozen=True)
class Change:
    """Something that happened, for who watches.

    Attributes
    ----------
    board
        Its name; empty when it is about all.
    state
        One of the ledger's; empty for a word on the way.
    text
        For people.
    """

    board: str
    state: str
    text: str


Listener = Callable[[Change], None]


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """One board of a roll-out; ``phase`` counts from 1, ``outcome`` is None for one that was not begun."""

    name: str
    address: str
    phase: int
    state: str
    outcome: Outcome | None


@dataclass(frozen=True)
class Rollout:
    """How a roll-out came out; ``stopped`` when failures kept it from going on, ``code`` as `edgekit.pipeline.phase.worst` says."""

    id: str
    app: str
    release: str
    boards: tuple[Board, ...]
    stopped: bool
    code: int


@dataclass
class _Work:
    crew: Crew
    ledger: Ledger
    plan: Plan
    listener: Listener
    doubts: frozenset[str]
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    under_way: dict[Future[Outcome], Device] = field(default_factory=dict)

    @property
    def failures(self) -> int:
        return sum(outcome.code != 0 for outcome in self.outcomes.values())

    @property
    def stopped(self) -> bool:
        return self.failures > self.plan.max_failures

    def phase(self, devices: Sequence[Device]) -> None:
        """Bring one phase to its end, or to the point where nothing more may begin."""
        busy = self._pass(devices, last=False)
        if busy and not self.stopped:
            self._pass(busy, last=True)

    def _pass(self, devices: Sequence[Device], *, last: bool) -> list[Device]:
        """Try boards once; returns those that were busy, unless it is their last time."""
        left, busy = list(devices), []
        while self.under_way or (left and not self.stopped):
            while left and not self.stopped and len(self.under_way) < self.plan.parallel:
                self._begin(left.pop(0))
            for device, outcome in self._next():
                if outcome.code == _BUSY and not last:
                    busy.append(device)
                    self.listener(Change(device.name, states.WAITING, f"{outcome.message}; once more at the end of the phase"))
                else:
                    self._end(device, outcome)
        # What was busy counts as failed when the phase has ended without a second time.
        for device in busy if self.stopped else ():
            self._end(device, Outcome(code=_BUSY, error=BusyError.__name__, message=f"{device.address}: somebody else holds the board"))
        return busy

    def _begin(self, device: Device) -> None:
        name = self.ledger.running(device.name)
        self.listener(Change(device.name, states.RUNNING, "begun"))

        def progress(stage: str, done: int, total: int) -> None:
            self.listener(Change(device.name, "", f"{stage} {done * 100 // total} %" if total > 1 else stage))

        self.under_way[self.crew.start(device, name=name, doubt=device.name in self.doubts, progress=progress)] = device

    def _next(self) -> list[tuple[Device, Outcome]]:
        done, _ = wait(self.under_way, return_when=FIRST_COMPLETED)
        return [(self.under_way.pop(future), _outcome(future)) for future in done]

    def _end(self, device: Device, outcome: Outcome) -> None:
        self.ledger.ended(device.name, outcome)
        self.outcomes[device.name] = outcome
        self.listener(Change(device.name, states.DONE if outcome.code == 0 else states.FAILED, _said(outcome)))

    def drain(self) -> None:
        """Let the boards under way end."""
        while self.under_way:
            for device, outcome in self._next():
                self._end(device, outcome)


def roll_out(
    bundle: Bundle, devices: Sequence[Device], crew: Crew, plan: Plan, listener: Listener, *, to: str, resume: bool, again: str
) -> Rollout:
    """Bring a bundle to many boards.

    Parameters
    ----------
    devices
        In the order in which they are begun: the first are the canaries.
    to
        The words that named them; with the application they name the ledger.
    again
        The command that goes on with this roll-out; an interruption carries it.

    Raises
    ------
    InputError
        The bundle is damaged.
    UsageError
        There is nothing to resume.
    BusyError
        Another process on this machine rolls out to the same group.
    """
    if broken := damage(bundle):
        raise InputError(f"the bundle is damaged: {broken[0]}", fix="build or copy the bundle again")
    with open_ledger(bundle.manifest.name, to) as ledger:
        known: dict[str, str] = {}
        if resume:
            found = ledger.resume(bundle.digest, devices)
            if found is None:
                raise UsageError(
                    f"no roll-out of {bundle.manifest.name} {bundle.digest[:12]} to {to} is unfinished",
                    fix="leave out --resume to begin one",
                )
            known = found
        else:
            ledger.begin(bundle.digest, devices)
        doubts = frozenset(name for name, state in known.items() if state == states.RUNNING)
        work = _Work(crew, ledger, plan, listener, doubts)
        numbered = _numbered(devices, plan)
        try:
            _go(work, numbered, known)
        except BaseException as stop:
            if not isinstance(stop, Exception):
                stop.args = (again,)
                if isinstance(stop, KeyboardInterrupt):
                    _wind_up(work)
            raise
        boards = tuple(_board(device, number, known, work) for number, device in numbered)
        if all(board.state == states.DONE for board in boards):
            ledger.close()
        left_out = worst(outcome.code for outcome in work.outcomes.values())
        return Rollout(ledger.id, bundle.manifest.name, bundle.digest, boards, work.stopped, left_out)


def _numbered(devices: Sequence[Device], plan: Plan) -> list[tuple[int, Device]]:
    sizes = phases(len(devices), plan)
    return list(zip((number for number, size in enumerate(sizes, 1) for _ in range(size)), devices, strict=True))


def _go(work: _Work, numbered: Sequence[tuple[int, Device]], known: dict[str, str]) -> None:
    last = max((number for number, _ in numbered), default=0)
    paused = True
    for number in range(1, last + 1):
        devices = [device for phase, device in numbered if phase == number and known.get(device.name) != states.DONE]
        if not devices:
            continue
        if not paused and work.plan.pause_s:
            work.listener(Change("", "", f"pause of {work.plan.pause_s:g} s"))
            time.sleep(work.plan.pause_s)
        paused = False
        work.listener(Change("", "", f"phase {number} of {last}: {len(devices)} board{'s' if len(devices) > 1 else ''}"))
        work.phase(devices)
        if work.stopped:
            return


def _wind_up(work: _Work) -> None:
    if work.under_way:
        work.listener(
            Change("", "", f"no further board is begun; {len(work.under_way)} under way will end (Ctrl-C again leaves them as they are)")
        )
    try:
        work.drain()
    except KeyboardInterrupt:
        # Their boards settle by themselves; the ledger has them in doubt.
        work.listener(Change("", "", f"left {len(work.under_way)} under way; --resume asks them first"))


def _outcome(future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except CancelledError:
        return Outcome(code=DeviceError.exit_code, error=DeviceError.__name__, message="the scheduler gave the board up")
    except DeviceError as error:
        return Outcome(code=error.exit_code, error=type(error).__name__, message=error.message, fix=error.fix)


def _said(outcome: Outcome) -> str:
    if outcome.code:
        return outcome.message or f"ended with code {outcome.code}"
    return "was there already" if outcome.already else f"deployed in {outcome.seconds:.1f} s"


def _board(device: Device, number: int, known: dict[str, str], work: _Work) -> Board:
    outcome = work.outcomes.get(device.name)
    state = known.get(device.name, states.WAITING)
    if outcome:
        state = states.DONE if outcome.code == 0 else states.FAILED
    return Board(name=device.name, address=str(device.address), phase=number, state=state, outcome=outcome)
