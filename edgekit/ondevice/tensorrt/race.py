"""Engines of one network raced on the board: the answers of each to the evaluation set, then their latencies, interleaved.

Job `engine.race`; the verdict is the host's. A round runs a block of each engine; the order turns from round to round and is
reversed in every second one, so that a drift of the board meets all alike. The first runs of a block bring the engine's weights back into
the caches and are not counted. Not proven on hardware.
"""

from __future__ import annotations

import collections
import gc
import os
import time
from typing import Any

from .. import inputs, preprocess
from ..accuracy import Pass
from ..latency import PAUSE_NS, report, warm_up
from ..sampler import Sampler
from ..samples import Samples
from ..store import check_blob
from ..wire import DIGEST, AgentError, Progress, integer, matching, number
from .engines import ACCOUNT, ENGINE, engine_path, read_json
from .runner import TensorRtRunner

__all__ = ["order", "race"]

ENGINES_MAX = 8
BLOCK_RUNS, BLOCK_WARM_RUNS = 20, 3
COUNT_MAX = 20_000  # timed runs of an engine
ANSWERS_MAX = 1_000_000  # predictions and labels of all engines together: what one answer may hold


def race(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Race the engines of a job; `engines` are digests of what lies on this board."""
    digests = _digests(job.get("engines"))
    path = check_blob(root, matching(job.get("samples"), DIGEST, "samples"), None, "the sample set")
    declared, threads = job.get("preprocess"), integer(job, "threads", 1, 256, 1)
    min_time_s, min_count = number(job, "min_time_s", 0, 3600, 3.0), integer(job, "min_count", 1, COUNT_MAX, 700)
    warmup_cap_s = number(job, "warmup_cap_s", 0, 3600, 60)
    if not isinstance(declared, dict):
        raise AgentError("usage", "engine.race needs a table preprocess")
    sampler = Sampler(threads)
    runners = [_open(root, digest) for digest in digests]
    with Samples(path) as samples:
        if not len(samples) or len(samples) * (len(runners) + 1) > ANSWERS_MAX:
            raise AgentError("usage", "%d samples for %d engines; up to %d answers are told" % (len(samples), len(runners), ANSWERS_MAX))
        answers = []
        for place, runner in enumerate(runners, 1):
            run = Pass(runner, declared, samples)
            collections.deque(run.outputs("predict with engine %d of %d" % (place, len(runners)), progress), maxlen=0)
            answers.append(run.predictions)
        shapes = inputs.shapes(runners[0].inputs, samples.arrays)
        sample = preprocess.feed(preprocess.check(declared), samples[0], shapes)
    firsts, warmups = [], []
    gc.disable()  # for the rest of this process
    for runner in runners:
        runner.set(sample)
        started = time.perf_counter_ns()
        runner.invoke()
        firsts.append(time.perf_counter_ns() - started)
        warmups.append(warm_up(runner.invoke, warmup_cap_s, progress))
    sampler.phase("invoke")
    times = _times(runners, min_time_s, min_count, progress)
    watched = sampler.end()
    latencies = [
        report(runner, watched, threads, first, warmup, series, {})
        for runner, first, warmup, series in zip(runners, firsts, warmups, times)
    ]
    entries = [{"predictions": predictions, "latency": latency} for predictions, latency in zip(answers, latencies)]
    return {"block_runs": BLOCK_RUNS, "engines": dict(zip(digests, entries))}


def _open(root: str, digest: str) -> TensorRtRunner:
    folder = engine_path(root, digest)
    account = read_json(os.path.join(folder, ACCOUNT))
    if account is None:
        raise AgentError("state", "engine %.12s is not on this board" % digest, "build it")
    return TensorRtRunner(root, os.path.join(folder, ENGINE), account["key"]["dla_core"])


def order(count: int, turn: int) -> list[int]:
    """Return who runs when in a round: of two AB BA BA AB, of three ABC CBA BCA ACB CAB BAC, and so on."""
    first = turn // 2 % count
    turned = [(first + place) % count for place in range(count)]
    return turned[::-1] if turn % 2 else turned


def _times(runners: list[TensorRtRunner], min_time_s: float, min_count: int, progress: Progress) -> list[list[int]]:
    """Return whole blocks of times of each engine until each has both minima, or as many as may be kept."""
    clock, count = time.perf_counter_ns, len(runners)
    times: list[list[int]] = [[] for _ in runners]
    start = told = clock()
    turn = 0
    while len(times[0]) < COUNT_MAX and (clock() - start < min_time_s * 1e9 * count or len(times[0]) < min_count):
        for place in order(count, turn):
            run = runners[place].invoke
            for _ in range(BLOCK_WARM_RUNS):
                run()
            for _ in range(BLOCK_RUNS):
                begun = clock()
                run()
                times[place].append(clock() - begun)
        turn += 1
        if clock() - told > PAUSE_NS:
            told = clock()
            progress("race", len(times[0]), max(min_count, len(times[0])))
    return times


def _digests(value: Any) -> list[str]:
    if not isinstance(value, list) or not 1 <= len(value) <= ENGINES_MAX:
        raise AgentError("usage", "engines must be a list of 1 to %d digests" % ENGINES_MAX)
    return [matching(digest, DIGEST, "an engine") for digest in value]
