"""Engines of one network raced on the board: the answers of each to the evaluation set, then their latencies, interleaved.

Job `engine.race`; the verdict is the host's. How they take turns is `edgekit.ondevice.turns`. Not proven on hardware.
"""

from __future__ import annotations

import collections
import gc
import os
import time
from typing import Any

from .. import inputs, preprocess
from ..accuracy import Pass
from ..latency import report, warm_up
from ..sampler import Sampler
from ..samples import Samples
from ..store import check_blob
from ..turns import BLOCK_RUNS, COUNT_MAX, in_turns
from ..wire import DIGEST, AgentError, Progress, integer, matching, number
from .engines import ACCOUNT, ENGINE, engine_path, read_json
from .runner import TensorRtRunner

__all__ = ["race"]

ENGINES_MAX = 8
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
    times = in_turns([runner.invoke for runner in runners], "race", min_time_s, min_count, progress)
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


def _digests(value: Any) -> list[str]:
    if not isinstance(value, list) or not 1 <= len(value) <= ENGINES_MAX:
        raise AgentError("usage", "engines must be a list of 1 to %d digests" % ENGINES_MAX)
    return [matching(digest, DIGEST, "an engine") for digest in value]
