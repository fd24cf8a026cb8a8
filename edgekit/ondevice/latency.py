"""How long one inference takes: job `probe.latency`. Raw samples go up; the statistics are the host's.

Warm up until steady, then measure until both a minimum time and a minimum count are reached; nothing is clipped. Two figures: the invoke
alone, and end to end (preprocess a raw sample, set the input, invoke, get the output) with its stages. File reading and decoding are in
neither. On a GPU the invoke holds the copies to and from it, and its parts, timed by the device, go up beside it. Between the two readings
of the clock there is nothing but the call. Other probes and the race use the same pieces.
"""

from __future__ import annotations

import gc
import itertools
import resource
import statistics
import time
from typing import Any, Callable

from . import inputs, preprocess
from .runner import Runner, find_release, is_engine, open_artifact
from .sampler import Sampler
from .samples import Sample, Samples
from .wire import AgentError, Progress, integer, number

__all__ = ["KEPT_MAX", "Parts", "golden_inputs", "measure", "probe", "report", "warm_up"]

# Steady: the last two windows of at least 30 runs and 1 s have medians within 1 %.
WINDOW_RUNS, WINDOW_NS, STEADY = 30, 1_000_000_000, 0.01
PAUSE_NS = 500_000_000  # progress is told this often, between two timed runs
KEPT_MAX, GOLDEN_MAX = 200_000, 64


def probe(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Measure a release on its golden samples, taken in turn."""
    min_time_s, warmup_cap_s = number(job, "min_time_s", 0, 3600, 3.0), number(job, "warmup_cap_s", 0, 3600, 60)
    min_count = integer(job, "min_count", 1, KEPT_MAX, 100)
    threads, (declared, golden, artifact, _, dla_core) = integer(job, "threads", 1, 256, 1), find_release(job, root)
    sampler = Sampler(threads)
    started = time.perf_counter_ns()
    try:
        runner = open_artifact(root, artifact, threads, graph=job.get("cuda_graph") is True, dla_core=dla_core)
    except AgentError as error:
        if error.kind != "runtime-missing" or not is_engine(artifact):
            raise
        from .tensorrt import timing

        return timing.probe(artifact, dla_core, min_time_s, min_count, threads, sampler, error)
    import_ns = time.perf_counter_ns() - started - runner.load_ns
    raw, shapes = golden_inputs(golden["samples"], runner)
    stages = Stages(runner, preprocess.check(declared), raw, shapes)
    runner.set(stages.feed())
    sampler.phase("first-invoke")
    started = time.perf_counter_ns()
    runner.invoke()
    first_invoke_ns = time.perf_counter_ns() - started
    gc.disable()  # for the rest of this process
    sampler.phase("warm-up")
    warmup, parts, peak_rss_bytes = warm_up(runner.invoke, warmup_cap_s, progress), Parts(runner), peak_rss()
    sampler.phase("invoke")
    invoke_ns = measure(runner.invoke, "latency", min_time_s, min_count, progress, parts.take)
    sampler.phase("end-to-end")
    end_to_end_ns = measure(stages.run, "end-to-end", min_time_s, min_count, progress)
    answer = report(runner, sampler.end(), threads, first_invoke_ns, warmup, invoke_ns, parts.series)
    longer = {"end_to_end_ns": end_to_end_ns, "stages_ns": stages.series, "import_ns": import_ns, "peak_rss_bytes": peak_rss_bytes}
    return {**answer, **longer, "capped": KEPT_MAX in (len(invoke_ns), len(end_to_end_ns))}


def golden_inputs(path: str, runner: Runner) -> tuple[list[Sample], dict[str, list[int]]]:
    """Return the first golden samples, raw, and the shapes that preprocessing must give them."""
    with Samples(path) as samples:
        raw = [samples[index] for index in range(min(len(samples), GOLDEN_MAX))]
        shapes = inputs.shapes(runner.inputs, samples.arrays)
    if not raw:
        raise AgentError("input", "the bundle has no golden samples")
    return raw, shapes


class Stages:
    """Raw samples in turn, from preprocessing to the output, and how long each stage beside the invoke took."""

    def __init__(self, runner: Runner, steps: dict[str, Any], raw: list[Sample], shapes: dict[str, list[int]]) -> None:
        self._runner, self._steps, self._turn, self._shapes = runner, steps, itertools.cycle(raw), shapes
        self.series: dict[str, list[int]] = {"preprocess": [], "set": [], "get": []}

    def feed(self) -> Sample:
        return preprocess.feed(self._steps, next(self._turn), self._shapes)

    def run(self) -> None:
        clock, series = time.perf_counter_ns, self.series
        begun = clock()
        arrays = self.feed()
        fed = clock()
        self._runner.set(arrays)
        ready = clock()
        self._runner.invoke()
        done = clock()
        self._runner.get()
        got = clock()
        series["preprocess"].append(fed - begun)
        series["set"].append(ready - fed)
        series["get"].append(got - done)


class Parts:
    """What the device says of the parts of each timed run."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.series: dict[str, list[int]] = {name: [] for name in runner.parts_ns()}

    def take(self) -> None:
        for name, value in self._runner.parts_ns().items():
            self.series[name].append(value)


def peak_rss() -> int:
    """Return the most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def report(
    runner: Runner,
    watched: dict[str, Any],
    threads: int,
    first_invoke_ns: int,
    warmup: dict[str, Any],
    invoke_ns: list[int],
    parts_ns: dict[str, list[int]],
) -> dict[str, Any]:
    """Return the answer to `probe.latency`; ``watched`` is what `Sampler.end` returns."""
    return {
        "import_ns": None,
        "load_ns": runner.load_ns,
        "first_invoke_ns": first_invoke_ns,
        "warmup": warmup,
        "invoke_ns": invoke_ns,
        "parts_ns": parts_ns,
        "end_to_end_ns": [],
        "stages_ns": {},
        "capped": len(invoke_ns) == KEPT_MAX,
        "peak_rss_bytes": peak_rss(),
        "gpu_memory_bytes": runner.gpu_memory_bytes,
        "threads": threads,
        "runtime": runner.runtime,
        "delegate": runner.delegate,
        "fed": "samples",
        **watched,
    }


def warm_up(run: Callable[[], None], cap_s: float, progress: Progress) -> dict[str, Any]:
    """Run until steady, or as long as may be."""
    clock, medians, runs, steady = time.perf_counter_ns, [], 0, False
    start = clock()
    while not steady and clock() - start < cap_s * 1e9:
        begun = clock()
        window: list[int] = []
        while len(window) < WINDOW_RUNS or clock() - begun < WINDOW_NS:
            started = clock()
            run()
            window.append(clock() - started)
            if clock() - start >= cap_s * 1e9:
                break
        runs += len(window)
        medians.append(statistics.median(window))
        steady = len(window) >= WINDOW_RUNS and len(medians) > 1 and abs(medians[-1] - medians[-2]) <= STEADY * medians[-2]
        progress("warm-up", int((clock() - start) / 1e6), int(cap_s * 1e3))
    return {"runs": runs, "seconds": (clock() - start) / 1e9, "steady": steady}


def measure(
    run: Callable[[], None],
    stage: str,
    min_time_s: float,
    min_count: int,
    progress: Progress,
    after_each: Callable[[], None] = lambda: None,
) -> list[int]:
    """Return the time of every run, in order, until both minima are reached or as many are kept as may be; ``after_each`` is not timed."""
    clock, min_ns = time.perf_counter_ns, min_time_s * 1e9
    samples: list[int] = []
    start = now = told = clock()
    while len(samples) < KEPT_MAX and (now - start < min_ns or len(samples) < min_count):
        begun = clock()
        run()
        now = clock()
        samples.append(now - begun)
        after_each()
        if now - told > PAUSE_NS:
            share = min((now - start) / min_ns if min_ns else 1.0, len(samples) / min_count)
            progress(stage, len(samples), max(len(samples), int(len(samples) / share)))
            told = clock()
    return samples
