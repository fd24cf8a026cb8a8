"""What an inference costs: job `probe.energy`. Power is read by the sampler, idle and under load; the subtraction is the host's."""

from __future__ import annotations

import gc
import time
from typing import Any

from . import board, preprocess
from .latency import golden_inputs, warm_up
from .runner import find_release, open_artifact
from .sampler import Sampler
from .wire import Progress, integer, number

SETTLE_S = 1.0  # sensors average, regulators and fans follow: what is read right after a change is of neither


def probe(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Idle with the model loaded, infer without a pause, idle again; or tell why this board cannot say."""
    threads, found = integer(job, "threads", 1, 256, 1), find_release(job, root)
    idle_s, load_s = number(job, "idle_s", 0.5, 600, 5), number(job, "load_s", 0.5, 3600, 10)
    sampler = Sampler(threads, number(job, "period_s", 0.02, 1, 0.1))
    if sampler.core is None:
        return {"unsupported": "no core is spare to read the sensors from while the network runs: ask for fewer threads"}
    if not board.power():
        return {"unsupported": "the board has no power sensors: the kernel shows none (hwmon: ina3221, ina238), nor does vcgencmd"}
    runner = open_artifact(root, found.artifact, threads, dla_core=found.dla_core)
    raw, shapes = golden_inputs(found.golden["samples"], runner)
    runner.set(preprocess.feed(preprocess.check(found.preprocess), raw[0], shapes))
    gc.disable()  # for the rest of this process
    warmup = warm_up(runner.invoke, number(job, "warmup_cap_s", 0, 3600, 60), progress)
    for phase, wait_s in (("settle", SETTLE_S), ("idle-before", idle_s), ("settle", 0.0)):
        sampler.phase(phase)
        progress("idle", 0, 1)
        time.sleep(wait_s)
    _load(runner.invoke, SETTLE_S)
    sampler.phase("load")
    progress("load", 0, 1)
    count, seconds = _load(runner.invoke, load_s)
    for phase, wait_s in (("settle", SETTLE_S), ("idle-after", idle_s)):
        sampler.phase(phase)
        progress("idle", 0, 1)
        time.sleep(wait_s)
    answer = {"unsupported": None, "count": count, "seconds": seconds, "warmup": warmup, "threads": threads, **sampler.end()}
    return {**answer, "runtime": runner.runtime, "delegate": runner.delegate}


def _load(invoke: Any, seconds: float) -> tuple[int, float]:
    """Infer for a while; return how often, and for how long."""
    clock, count, start = time.monotonic, 0, time.monotonic()
    while clock() - start < seconds:
        invoke()
        count += 1
    return count, clock() - start
