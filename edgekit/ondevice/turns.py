"""Several things timed in turns, so that a drift of the board meets all alike. Used by the race of engines and by `regression`."""

from __future__ import annotations

import time
from typing import Callable, Sequence

from .latency import PAUSE_NS
from .wire import Progress

__all__ = ["BLOCK_RUNS", "COUNT_MAX", "in_turns", "order"]

# The first runs of a block bring the artifact's weights back into the caches and are not counted.
BLOCK_RUNS, BLOCK_WARM_RUNS = 20, 3
COUNT_MAX = 20_000  # timed runs of each


def order(count: int, turn: int) -> list[int]:
    """Return who runs when in a round: of two AB BA BA AB, of three ABC CBA BCA ACB CAB BAC, and so on."""
    first = turn // 2 % count
    turned = [(first + place) % count for place in range(count)]
    return turned[::-1] if turn % 2 else turned


def in_turns(runs: Sequence[Callable[[], None]], stage: str, min_time_s: float, min_count: int, progress: Progress) -> list[list[int]]:
    """Return whole blocks of times, in ns, of each until each has both minima, or as many as may be kept."""
    clock, count = time.perf_counter_ns, len(runs)
    times: list[list[int]] = [[] for _ in runs]
    start = told = clock()
    turn = 0
    while len(times[0]) < COUNT_MAX and (clock() - start < min_time_s * 1e9 * count or len(times[0]) < min_count):
        for place in order(count, turn):
            run = runs[place]
            for _ in range(BLOCK_WARM_RUNS):
                run()
            for _ in range(BLOCK_RUNS):
                begun = clock()
                run()
                times[place].append(clock() - begun)
        turn += 1
        if clock() - told > PAUSE_NS:
            told = clock()
            progress(stage, len(times[0]), max(min_count, len(times[0])))
    return times
