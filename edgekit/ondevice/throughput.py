"""How many inferences a second: job `probe.throughput`. Streams run beside each other in one process, each with a runner of its own.

LiteRT, tflite-runtime and onnxruntime let go of Python's lock while they compute, so that threads do. Counted are whole inferences in equal
spans of time; inputs are set once. Each stream's times are those of its invokes under that load.
"""

from __future__ import annotations

import gc
import statistics
import threading
import time
from typing import Any

from . import preprocess
from .latency import KEPT_MAX, STEADY, WINDOW_NS, WINDOW_RUNS, golden_inputs, peak_rss
from .runner import Runner, find_release, is_engine, open_artifact
from .sampler import Sampler
from .wire import AgentError, Progress, integer, number

SPANS = 30
STREAMS_MAX = 64


class Stream(threading.Thread):
    """Runs until it is told that it is over; ``count`` grows with each inference, ``series`` holds times since it was last emptied."""

    def __init__(self, runner: Runner, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self._runner, self._over = runner, over
        self.count = 0
        self.failure: Exception | None = None
        self.series: list[int] = []

    def run(self) -> None:
        clock, invoke = time.perf_counter_ns, self._runner.invoke
        try:
            while not self._over.is_set():
                begun = clock()
                invoke()
                ended = clock()
                self.count += 1
                series = self.series
                if len(series) < KEPT_MAX:
                    series.append(ended - begun)
        except Exception as error:  # noqa: BLE001  # raised by who waits: one stream fewer is another load
            self.failure = error
            self._over.set()


def probe(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Measure a release with ``streams`` runners of ``threads`` threads each."""
    streams, threads = integer(job, "streams", 1, STREAMS_MAX, 1), integer(job, "threads", 1, 256, 1)
    min_time_s, warmup_cap_s = number(job, "min_time_s", 0.1, 3600, 10.0), number(job, "warmup_cap_s", 0, 3600, 60)
    found = find_release(job, root)
    if streams > 1 and is_engine(found.artifact):
        raise AgentError("usage", "an engine is measured with one stream: CUDA belongs to one thread of ours", "ask for one stream")
    sampler = Sampler(threads * streams)
    runners = [open_artifact(root, found.artifact, threads, dla_core=found.dla_core) for _ in range(streams)]
    raw, shapes = golden_inputs(found.golden["samples"], runners[0])
    steps, over = preprocess.check(found.preprocess), threading.Event()
    for place, runner in enumerate(runners):
        runner.set(preprocess.feed(steps, raw[place % len(raw)], shapes))
    gc.disable()  # for the rest of this process
    workers = [Stream(runner, over) for runner in runners]
    sampler.phase("warm-up")
    for worker in workers:
        worker.start()
    try:
        warmup = _warm_up(workers, over, warmup_cap_s, progress)
        sampler.phase("throughput")
        _taken(workers)
        spans = [_span(workers, over, min_time_s / SPANS, (place, SPANS), progress) for place in range(SPANS)]
    finally:
        over.set()
        for worker in workers:
            worker.join()
    for worker in workers:
        if worker.failure:
            raise worker.failure
    return {
        "streams": streams,
        "threads": threads,
        "batch": runners[0].inputs[0]["shape"][0] if runners[0].inputs[0]["shape"] else 1,
        "warmup": warmup,
        "span_ns": [span for span, _ in spans],
        "span_count": [count for _, count in spans],
        "invoke_ns": [worker.series[: KEPT_MAX // streams] for worker in workers],
        "peak_rss_bytes": peak_rss(),
        "runtime": runners[0].runtime,
        "delegate": runners[0].delegate,
        **sampler.end(),
    }


def _span(workers: list[Stream], over: threading.Event, span_s: float, place: tuple[int, int], progress: Progress) -> tuple[int, int]:
    """Wait, and return how long it was and how many inferences ended meanwhile."""
    begun, before = time.perf_counter_ns(), sum(worker.count for worker in workers)
    over.wait(span_s)
    ended, after = time.perf_counter_ns(), sum(worker.count for worker in workers)
    progress("throughput", place[0] + 1, place[1])
    return ended - begun, after - before


def _taken(workers: list[Stream]) -> list[int]:
    """Empty all series; return what they held."""
    found = []
    for worker in workers:
        series, worker.series = worker.series, []
        found += series
    return found


def _warm_up(workers: list[Stream], over: threading.Event, cap_s: float, progress: Progress) -> dict[str, Any]:
    """Wait until two windows in a row have medians within 1 %, or as long as may be; see `latency.warm_up`."""
    start, steady = time.monotonic(), False
    medians: list[float] = []
    window: list[int] = []
    while not steady and not over.is_set() and time.monotonic() - start < cap_s:
        over.wait(WINDOW_NS / 1e9)
        window += _taken(workers)
        if len(window) >= WINDOW_RUNS:
            medians.append(statistics.median(window))
            steady, window = len(medians) > 1 and abs(medians[-1] - medians[-2]) <= STEADY * medians[-2], []
        progress("warm-up", int(1e3 * (time.monotonic() - start)), int(1e3 * cap_s))
    return {"runs": sum(worker.count for worker in workers), "seconds": time.monotonic() - start, "steady": steady}
