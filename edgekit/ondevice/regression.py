"""Two releases of one application timed in turns by one process: job `probe.regression`. The verdict is the host's.

Each is fed its first golden sample. Who is loaded first is the job's to say: a run that is to confirm another turns it round, as where
in memory an artifact comes to lie may favour one of two that are equal.
"""

from __future__ import annotations

import gc
from typing import Any

from . import preprocess
from .latency import golden_inputs, warm_up
from .runner import Release, Runner, find_release, is_engine, open_artifact
from .sampler import Sampler
from .turns import BLOCK_RUNS, COUNT_MAX, in_turns
from .wire import DIGEST, AgentError, Progress, integer, matching, number

__all__ = ["probe"]


def probe(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Time the two `releases` of `app`, in the order in which they are loaded."""
    releases, threads = job.get("releases"), integer(job, "threads", 1, 256, 1)
    min_time_s, min_count = number(job, "min_time_s", 0, 3600, 3.0), integer(job, "min_count", 1, COUNT_MAX, 1500)
    warmup_cap_s = number(job, "warmup_cap_s", 0, 3600, 60)
    if not isinstance(releases, list) or len(releases) != 2 or releases[0] == releases[1]:
        raise AgentError("usage", "releases must be two digests")
    found = [find_release({**job, "release": matching(release, DIGEST, "a release")}, root) for release in releases]
    sampler = Sampler(threads)
    runners = [_opened(release, root, threads) for release in found]
    gc.disable()  # for the rest of this process
    sampler.phase("warm-up")
    warmups = [warm_up(runner.invoke, warmup_cap_s, progress) for runner in runners]
    sampler.phase("invoke")
    times = in_turns([runner.invoke for runner in runners], "regression", min_time_s, min_count, progress)
    parts = zip(releases, runners, warmups, times)
    return {
        "block_runs": BLOCK_RUNS,
        "threads": threads,
        "releases": [
            {"release": release, "runtime": runner.runtime, "delegate": runner.delegate, "warmup": warmup, "invoke_ns": series}
            for release, runner, warmup, series in parts
        ],
        **sampler.end(),
    }


def _opened(release: Release, root: str, threads: int) -> Runner:
    declared, golden, artifact, _, dla_core = release
    try:
        runner = open_artifact(root, artifact, threads, dla_core=dla_core)
    except AgentError as error:
        if error.kind == "runtime-missing" and is_engine(artifact):
            raise AgentError(error.kind, "two engines are timed in one process, and that takes TensorRT's Python: %s" % error) from error
        raise
    raw, shapes = golden_inputs(golden["samples"], runner)
    runner.set(preprocess.feed(preprocess.check(declared), raw[0], shapes))
    return runner
