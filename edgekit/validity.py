"""When the board itself makes a timed measurement worthless: the rules that every such probe shares.

A probe calls `broken` with what the board said of itself while it was measured, and adds rules of its own. `Watched` is the part of the
agent's answers that tells it, `words` and `figures` are what a report says of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Annotated

import msgspec

from edgekit import throttle
from edgekit.measurement import Measurement
from edgekit.throttle import BoardState

__all__ = ["DRIFT_MAX", "Runtime", "States", "Warmup", "Watch", "Word", "broken", "figures", "words"]

DRIFT_MAX = 0.03
"""Our own choice: three times the window within which the warm-up calls a run steady. A clock may fall by as much."""

_LOAD_PER_CORE_MAX = 0.5
_OTHERS_MAX = 0.05
"""Share of the timed cores' time. Our own choice: what an idle Linux does for itself stays under 2 %."""
_OTHERS_COUNTED_S = 0.5
"""Less time than this says nothing: the kernel counts in hundredths of a second."""
_HOLDING = {"performance", "userspace"}
"""Governors that keep a clock (Linux, CPU Performance Scaling: generic scaling governors)."""
_RISE_TOLD_C = 5.0

States = Annotated[tuple[BoardState, ...], msgspec.Meta(min_length=2, max_length=10_000)]
Word = Annotated[str, msgspec.Meta(max_length=200)]
_Core = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class Warmup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a run was warmed up: until two windows had medians within 1 %, or as long as may be."""

    runs: Annotated[int, msgspec.Meta(ge=0, le=10**9)]
    seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)]
    steady: bool

    def broken(self) -> dict[str, str]:
        """Return the rule ``unsteady`` with its reason, when the warm-up ended by its cap alone."""
        return {} if self.steady else {"unsteady": f"not steady after {self.runs} warm-up runs in {self.seconds:.0f} s"}


class Runtime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ran the network."""

    name: Word
    version: Word | None

    def words(self, delegate: str | None) -> dict[str, str]:
        """Return what a report's environment says of it."""
        return {"runtime": f"{self.name} {self.version or 'of unknown version'}", "delegate": delegate or "none"}


class Watch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the states were had.

    Attributes
    ----------
    core
        Where the process ran that asked the board; None where no core was spare and it was asked only between measurements.
    timed
        The cores that the timed work was allowed.
    """

    core: _Core | None
    timed: Annotated[tuple[_Core, ...], msgspec.Meta(min_length=1, max_length=1024)]
    period_s: Annotated[float, msgspec.Meta(gt=0, le=3600)]


@dataclass(frozen=True)
class _Board:
    """What the rules look at: its states in order, the first from before the run; those between are ``measured`` by their phase."""

    states: Sequence[BoardState]
    cores: int
    simulated: bool
    measured: frozenset[str]


def simulated(board: _Board) -> str | None:
    """The clock of an emulator, or of a machine that stands in, says nothing about the board."""
    return "it was not measured on the board" if board.simulated else None


def throttled(board: _Board) -> str | None:
    """A Raspberry Pi's firmware slowed it down, see `edgekit.throttle.throttled`."""
    return _first(throttle.throttled, board)


def gpu_throttled(board: _Board) -> str | None:
    """An NVIDIA board slowed itself down, see `edgekit.throttle.gpu_throttled`."""
    return _first(throttle.gpu_throttled, board)


def clock_step(board: _Board) -> str | None:
    """The timed cores' clock fell by more than 3 % while it was measured, or at any time under a governor that should hold it.

    Held against the median of what was read before. One reading alone may be the meter's: two in a row count, or the last.
    """
    held = all(set(state.governor) <= _HOLDING and state.governor for state in board.states)
    states = [state for state in board.states if held or state.phase in board.measured]
    clocks = [state.timed.mhz for state in states if state.timed and state.timed.mhz]
    for place in range(1, len(clocks)):
        usual = median(clocks[:place])
        if max(clocks[place : place + 2]) < usual * (1 - DRIFT_MAX):
            return f"the cores' clock fell from {usual:g} to {clocks[place]:g} MHz"
    return None


def busy(board: _Board) -> str | None:
    """Other work shared the cores: a one-minute load before the run over half of them, unless their own time shows that it was over.

    Load counts tasks that run or wait (proc_loadavg(5)) and forgets slowly: it may be what a probe of ours left a moment before. The half
    is our own choice, as a freshly booted or just provisioned board idles well under it.
    """
    load, others = board.states[0].load1, _others(board)
    if load is None or load <= _LOAD_PER_CORE_MAX * board.cores or (others is not None and others <= _OTHERS_MAX):
        return None
    return f"the board was busy before the run: load {load:.2f} on {board.cores} cores"


def disturbed(board: _Board) -> str | None:
    """Other work had more than 5 % of the timed cores' time while it was measured (proc_stat(5), proc_pid_stat(5)).

    Interrupts and the time that a hypervisor gave to others count as such.
    """
    others = _others(board)
    return f"other work had {others:.0%} of the cores' time" if others is not None and others > _OTHERS_MAX else None


def _others(board: _Board) -> float | None:
    """Return the share of the timed cores' time that other work had; None where too little of it was seen to say."""
    total_s = others_s = 0.0
    for one, other in pairwise(board.states):
        if one.phase in board.measured and one.timed and other.timed:
            total_s += other.timed.total_s - one.timed.total_s
            others_s += (other.timed.busy_s - one.timed.busy_s) - (other.timed.own_s - one.timed.own_s)
    return others_s / total_s if total_s >= _OTHERS_COUNTED_S else None


_RULES: tuple[Callable[[_Board], str | None], ...] = (simulated, throttled, gpu_throttled, clock_step, busy, disturbed)


def broken(states: Sequence[BoardState], *, cores: int, simulated: bool, measured: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return the rules that a run broke, each with its reason; empty when its figures may be believed.

    Parameters
    ----------
    states
        What the board said, in order: at least before the run and after it.
    cores
        Cores of the board, by its facts.
    simulated
        The board is an emulator, or a machine that stands in for it.
    measured
        The phases whose times the figures are made of.
    """
    board = _Board(states, cores, simulated, measured)
    return {rule.__name__: reason for rule in _RULES if (reason := rule(board))}


def _first(rule: Callable[[BoardState, BoardState], str | None], board: _Board) -> str | None:
    """Hold every later state against the first: what slowed the board down in the middle may be over at the end."""
    return next((reason for state in board.states[1:] if (reason := rule(board.states[0], state))), None)


def words(states: Sequence[BoardState], watch: Watch) -> dict[str, str]:
    """Return what a report's environment says of the board and of how it was watched."""
    spare = f"every {watch.period_s:g} s on core {watch.core}, where nothing was timed"
    found = {
        "governor": ", ".join(sorted({governor for state in (states[0], states[-1]) for governor in state.governor})),
        "gpu_clock": throttle.clock_words(states[-1].gpu),
        "power_mode": states[0].power_mode or "",
        "affinity": ",".join(map(str, watch.timed)),
        "watched": "between measurements only: no core was spare" if watch.core is None else spare,
        "temperature": _rise(states),
    }
    return {key: word for key, word in found.items() if word}


def _rise(states: Sequence[BoardState]) -> str:
    """Tell of a board that was still getting warmer in the second half of a run: no rule, as it may have run as fast."""
    later = [max(state.temperature_c.values()) for state in states[len(states) // 2 :] if state.temperature_c]
    if not later or later[-1] - later[0] <= _RISE_TOLD_C:
        return ""
    return f"rose from {later[0]:.1f} to {later[-1]:.1f} degC in the second half of the run, and may not have reached its end"


def figures(states: Sequence[BoardState]) -> list[Measurement]:
    """Return the board's temperatures and clocks before, at most and after."""
    found = []
    for moment, board in (("before", states[0]), ("after", states[-1])):
        if board.temperature_c:
            found.append(Measurement(f"temperature_{moment}", max(board.temperature_c.values()), "degC", 1, details=board.temperature_c))
        if board.cpu_mhz:
            found.append(Measurement(f"clock_{moment}", max(board.cpu_mhz), "MHz", 1, details={"lowest": min(board.cpu_mhz)}))
        if board.gpu:
            bounds = {"lowest": board.gpu.min_mhz, "highest": board.gpu.max_mhz}
            found.append(Measurement(f"gpu_clock_{moment}", board.gpu.mhz, "MHz", 1, details=bounds))
    if hottest := [max(state.temperature_c.values()) for state in states if state.temperature_c]:
        found.append(Measurement("temperature_max", max(hottest), "degC", len(hottest)))
    return found
