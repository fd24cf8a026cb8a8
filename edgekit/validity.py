"""When the board itself makes a timed measurement worthless: the rules that every such probe shares.

A probe calls `broken` with what the board said of itself while it was measured, and adds rules of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekit import throttle
from edgekit.throttle import BoardState

__all__ = ["broken"]

_LOAD_PER_CORE_MAX = 0.5


@dataclass(frozen=True)
class _Board:
    """What the rules look at: its states in order, the first from before the run."""

    states: Sequence[BoardState]
    cores: int
    simulated: bool


def simulated(board: _Board) -> str | None:
    """The clock of an emulator, or of a machine that stands in, says nothing about the board."""
    return "it was not measured on the board" if board.simulated else None


def throttled(board: _Board) -> str | None:
    """A Raspberry Pi's firmware slowed it down, see `edgekit.throttle.throttled`."""
    return _first(throttle.throttled, board)


def gpu_throttled(board: _Board) -> str | None:
    """An NVIDIA board slowed itself down, see `edgekit.throttle.gpu_throttled`."""
    return _first(throttle.gpu_throttled, board)


def busy(board: _Board) -> str | None:
    """Other work shared the cores: a one-minute load before the run over half of them.

    Load counts tasks that run or wait (proc_loadavg(5)); the half is our own choice, as a
    freshly booted or just provisioned board idles well under it.
    """
    load = board.states[0].load1
    if load is None or load <= _LOAD_PER_CORE_MAX * board.cores:
        return None
    return f"the board was busy before the run: load {load:.2f} on {board.cores} cores"


_RULES: tuple[Callable[[_Board], str | None], ...] = (simulated, throttled, gpu_throttled, busy)


def broken(states: Sequence[BoardState], *, cores: int, simulated: bool) -> dict[str, str]:
    """Return the rules that a run broke, each with its reason; empty when its figures may be believed.

    Parameters
    ----------
    states
        What the board said, in order: at least before the run and after it.
    cores
        Cores of the board, by its facts.
    simulated
        The board is an emulator, or a machine that stands in for it.
    """
    board = _Board(states, cores, simulated)
    return {rule.__name__: reason for rule in _RULES if (reason := rule(board))}


def _first(rule: Callable[[BoardState, BoardState], str | None], board: _Board) -> str | None:
    """Hold every later state against the first: what slowed the board down in the middle may be over at the end."""
    return next((reason for state in board.states[1:] if (reason := rule(board.states[0], state))), None)
