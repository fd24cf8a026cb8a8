"""What the board says of itself while it is measured, asked from a core that the timed work is kept off. Every timed probe begins one.

A process of its own, begun before numpy and a runtime are loaded: it is small, and none of their threads may run where it does. Where no
core is spare there is none, and the board is asked only between measurements, when `Sampler.phase` is called.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import time
import traceback
from typing import Any

from . import board
from .sensor import read_number, read_text
from .wire import AgentError

__all__ = ["Sampler"]

PERIOD_S = 0.5
KEPT_MAX = 2000  # then every second one goes, and half as many are asked for
BLOCK_BYTES = 1 << 16


class Sampler:
    """Asks the board at once, every ``period_s``, and when a phase begins. ``core`` is where it runs, None where no core is spare.

    From then on this process, with all threads and processes it begins, runs on the cores ``timed``: all that it might use, but that one
    where it needs no more than ``threads``.
    """

    def __init__(self, threads: int, period_s: float = PERIOD_S, top: str = "/") -> None:
        self.timed, self.period_s = sorted(os.sched_getaffinity(0)), period_s
        self.core = _spare(self.timed, threads)
        self._states: list[dict[str, Any]] = []
        if self.core is None:
            self._watch = _Watch(top, self.timed, os.getpid(), 0)
            self._states.append(self._watch.state("before"))
            return
        self.timed.remove(self.core)
        (orders, self._orders), (self._answers, answers) = os.pipe(), os.pipe()
        parent = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            _child(_Watch(top, self.timed, parent, os.getpid()), self.core, period_s, orders, answers)
        os.close(orders)
        os.close(answers)
        os.sched_setaffinity(0, self.timed)
        self._answers_file = os.fdopen(self._answers, "rb")
        self._answer()  # the first state: before anything is loaded

    def phase(self, name: str) -> None:
        """Say what begins now; states are marked with it."""
        if self.core is None:
            self._states.append(self._watch.state(name))
        else:
            os.write(self._orders, name.encode("ascii") + b"\n")

    def take(self) -> list[dict[str, Any]]:
        """Return the states since the last call, in order."""
        if self.core is None:
            taken, self._states = self._states, []
            return taken
        os.write(self._orders, b"\n")
        states: list[dict[str, Any]] = json.loads(self._answer())
        return states

    def end(self) -> dict[str, Any]:
        """Ask a last time, and return what belongs into a probe's answer: ``states``, and ``watch``, how they were had."""
        self.phase("after")
        states = self.take()
        if self.core is not None:
            os.close(self._orders)
            self._answers_file.close()
            os.waitpid(self._child, 0)
        return {"states": states, "watch": self.watch}

    @property
    def watch(self) -> dict[str, Any]:
        return {"core": self.core, "timed": self.timed, "period_s": self.period_s}

    def _answer(self) -> bytes:
        line = self._answers_file.readline()
        if not line:
            raise AgentError("bug", "the process that watches the board has ended")
        return line


class _Watch:
    """Reads states: ``besides`` is the process that watches, and no part of the one that is timed."""

    def __init__(self, top: str, timed: list[int], process: int, besides: int) -> None:
        self._top, self._timed, self._process, self._besides = top, timed, process, besides

    def state(self, phase: str) -> dict[str, Any]:
        state = board.state(self._top)
        paths = ("sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq" % core for core in self._timed)
        clocks = [clock / 1000 for clock in (read_number(os.path.join(self._top, path)) for path in paths) if clock is not None]
        total_s, busy_s = _cores_s(self._timed)
        own_s = _tree_s(self._process, self._besides)
        timed = {"mhz": max(clocks, default=None), "total_s": total_s, "busy_s": busy_s, "own_s": own_s}
        return {**state, "phase": phase, "timed": timed}


def _child(watch: _Watch, core: int, period_s: float, orders: int, answers: int) -> None:
    """Be the process that watches, until the other end of ``orders`` is closed: by `Sampler.end`, or by the death of who holds it."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGHUP):  # meant for the other process, whose end is ours
            signal.signal(number, signal.SIG_IGN)
        # Its locks, its link to the host.
        for handle in {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2, orders, answers}:
            try:
                os.close(handle)
            except OSError:  # the folder's own
                continue
        os.sched_setaffinity(0, {core})
        _serve(watch, period_s, orders, answers)
        code = 0
    except BrokenPipeError:
        code = 0
    except BaseException:  # noqa: BLE001  # nothing may leave the fork
        traceback.print_exc()
    finally:
        os._exit(code)


def _serve(watch: _Watch, period_s: float, orders: int, answers: int) -> None:
    phase, states, rest = "before", [watch.state("before")], b""
    os.write(answers, b"\n")
    due = time.monotonic() + period_s
    while True:
        if select.select([orders], [], [], max(0.0, due - time.monotonic()))[0]:
            block = os.read(orders, BLOCK_BYTES)
            if not block:
                return
            *words, rest = (rest + block).split(b"\n")
            for word in words:
                if word:
                    phase = word.decode("ascii")
                    states.append(watch.state(phase))
                else:
                    with open(answers, "wb", closefd=False) as file:
                        file.write(json.dumps(states).encode("ascii") + b"\n")
                    states = []
        else:
            states.append(watch.state(phase))
            due = time.monotonic() + period_s
        if len(states) > KEPT_MAX:
            states, period_s = thinned(states), 2 * period_s


def thinned(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return every second state; what a dropped one tells of throttling, its neighbour tells."""
    kept = states[:1]
    for first, second in zip(states[1::2], states[2::2]):
        kept.append(folded(first, second))
    return kept if len(states) % 2 else [*kept, states[-1]]


def folded(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return the later of two states with the alarms and the throttle bits of both, and the lower clocks."""
    bits = [int(state["throttled"], 16) for state in (first, second) if state["throttled"]]
    lowest = [clock for clock in (first["timed"]["mhz"], second["timed"]["mhz"]) if clock is not None]
    return {
        **second,
        "alarms": sorted({*first["alarms"], *second["alarms"]}),
        "throttled": hex(bits[0] | bits[-1]) if bits else None,
        "timed": {**second["timed"], "mhz": min(lowest, default=None)},
    }


def _spare(cores: list[int], threads: int) -> int | None:
    """Return the core to watch from, None where the work needs them all."""
    return min(cores, key=_speed) if len(cores) > threads else None


def _speed(core: int) -> tuple[float, int]:
    """Order cores by their highest clock: of big and little ones a little one is given away, of equals the last."""
    highest = read_number("/sys/devices/system/cpu/cpu%d/cpufreq/cpuinfo_max_freq" % core)
    return (highest or 0.0, -core)


def _cores_s(cores: list[int]) -> tuple[float, float]:
    """Return the time of some cores since boot, and how much of it they were busy, for another machine's guest too (proc_stat(5))."""
    total = busy = 0
    for core, line in re.findall(r"^cpu(\d+) (.*)$", read_text("/proc/stat") or "", re.MULTILINE):
        if int(core) in cores:
            user, nice, system, idle, iowait, irq, softirq, steal = map(int, line.split()[:8])
            busy += user + nice + system + irq + softirq + steal
            total += user + nice + system + irq + softirq + steal + idle + iowait
    tick = os.sysconf("SC_CLK_TCK")
    return total / tick, busy / tick


def _tree_s(process: int, besides: int) -> float:
    """Return the CPU time of a process and all below it but one (proc_pid_stat(5), fields 4 and 14 to 17)."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        fields = (read_text("/proc/%s/stat" % name) or "").rpartition(")")[2].split()
        if len(fields) > 14:  # it may have ended meanwhile
            parents[int(name)], ticks[int(name)] = int(fields[1]), sum(map(int, fields[11:15]))

    def ours(one: int) -> bool:
        while one not in (process, besides) and one in parents:
            one = parents[one]
        return one == process

    return sum(spent for one, spent in ticks.items() if ours(one)) / os.sysconf("SC_CLK_TCK")
