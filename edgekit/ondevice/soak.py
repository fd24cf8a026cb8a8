"""Minutes to days of inference: job `probe.soak`. Each window goes up as it ends, so that a lost link loses one; memory stays flat."""

from __future__ import annotations

import array
import functools
import itertools
import time
from typing import Any, Callable, Iterator

from . import preprocess
from .latency import golden_inputs, warm_up
from .runner import Runner, find_release, open_artifact
from .sampler import Sampler, folded
from .samples import Sample
from .sensor import read_text
from .wire import Progress, integer, number

WINDOWS_MAX = 10_000
WINDOW_RUNS_MAX = 250_000  # of more only so many have their time kept
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def probe(job: dict[str, Any], root: str, progress: Progress, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Run a release for ``seconds`` on its golden samples in turn; tell how it began, then each window of ``window_s``."""
    window_s = number(job, "window_s", 0.1, 3600, 10.0)
    seconds, threads = number(job, "seconds", 0.1, window_s * WINDOWS_MAX, 600), integer(job, "threads", 1, 256, 1)
    found = find_release(job, root)
    sampler = Sampler(threads, min(window_s, 1.0))
    runner = open_artifact(root, found.artifact, threads, dla_core=found.dla_core)
    raw, shapes = golden_inputs(found.golden["samples"], runner)
    steps = preprocess.check(found.preprocess)
    fed = [preprocess.feed(steps, sample, shapes) for sample in raw]
    runner.set(fed[0])
    sampler.phase("warm-up")
    warmup = warm_up(runner.invoke, number(job, "warmup_cap_s", 0, 3600, 60), progress)
    began = {"warmup": warmup, "threads": threads, "state": sampler.take()[0], "watch": sampler.watch}
    tell({**began, "runtime": runner.runtime, "delegate": runner.delegate})
    sampler.phase("soak")
    turn, start, windows = itertools.cycle(fed), time.monotonic(), 0
    while (left_s := start + seconds - time.monotonic()) > 0 and windows < WINDOWS_MAX:
        window = _window(runner, turn, min(window_s, left_s))
        window["start_s"] = time.monotonic() - start - window["seconds"]
        if sampler.core is None:
            sampler.phase("soak")
        states = sampler.take()
        window["state"] = functools.reduce(folded, states) if states else None
        tell(window)
        windows += 1
        progress("soak", int(1e3 * (time.monotonic() - start)), int(1e3 * seconds))
    return {"windows": windows, "state": sampler.end()["states"][-1]}


def _window(runner: Runner, turn: Iterator[Sample], window_s: float) -> dict[str, Any]:
    clock, times, count = time.perf_counter_ns, array.array("q"), 0
    start = now = clock()
    while now - start < window_s * 1e9:
        runner.set(next(turn))
        begun = clock()
        runner.invoke()
        now = clock()
        count += 1
        if count <= WINDOW_RUNS_MAX:
            times.append(now - begun)
    ranked = sorted(times)
    quantiles = {name: ranked[min(len(ranked) - 1, int(p * len(ranked)))] for name, p in QUANTILES.items()}
    seconds, resident = (now - start) / 1e9, int((read_text("/proc/self/statm") or "0 0").split()[1])
    ends = {"min": ranked[0], "max": ranked[-1]}
    return {"seconds": seconds, "count": count, "invoke_ns": {**quantiles, **ends}, "rss_pages": resident}
