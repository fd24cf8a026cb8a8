"""Latency of an engine by TensorRT's own program, where Python lacks TensorRT or CUDA; it gives times and no answers.

Called by `probe.latency`. `trtexec` feeds random values, runs one inference ahead, and says how long the copies and the computing of each
took (TensorRT documentation, "trtexec"; samples/common/sampleReporting.cpp, exportJSONTrace). Not proven on hardware.
"""

from __future__ import annotations

import json
import math
import os
import resource
import statistics
import subprocess
import tempfile
from typing import Any

from ..latency import KEPT_MAX, STEADY
from ..runtimes import programs, trtexec
from ..sampler import Sampler
from ..wire import AgentError

__all__ = ["probe", "series"]

WARM_UP_MS = 2000  # its own default is 200
TIME_MAX_S = 120.0  # of runs that take 0.2 ms each it then writes some 200 MB
TRACE_BYTES_MAX = 256 << 20
EXTRA_S = 600
PARTS = {"h2d": "h2dMs", "compute": "computeMs", "d2h": "d2hMs"}
NS_PER_MS = 1e6
FED = "random values of trtexec, not samples; it queues one run ahead of the other"
NO_COPIES = "; it was not told to copy them: compute alone"


def probe(
    plan: str, dla_core: int | None, min_time_s: float, min_count: int, threads: int, sampler: Sampler, missing: AgentError
) -> dict[str, Any]:
    """Return an answer to `probe.latency`; refuse with what is ``missing`` where there is no `trtexec` either."""
    program = trtexec()
    if program is None:
        raise AgentError(missing.kind, "%s; nor is there a trtexec" % missing.message, missing.fix) from missing
    if min_time_s > TIME_MAX_S:
        raise AgentError("usage", "trtexec keeps every run: it is not asked for %d s, %d are the most" % (min_time_s, TIME_MAX_S))
    sampler.phase("trtexec")  # it does not say when its warm-up is over
    with tempfile.TemporaryDirectory(prefix="edgekit-timing-") as folder:
        trace = os.path.join(folder, "times.json")
        command = [program, "--loadEngine=" + plan, "--exportTimes=" + trace, "--warmUp=%d" % WARM_UP_MS]
        command += [] if dla_core is None else ["--useDLACore=%d" % dla_core]
        command += ["--iterations=%d" % min_count, "--duration=%d" % math.ceil(min_time_s)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=min_time_s + EXTRA_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise AgentError("runtime-failed", "%s did not end within %d s" % (program, min_time_s + EXTRA_S)) from error
        if done.returncode or not os.path.isfile(trace):
            said = [line for line in done.stdout.decode("utf-8", "replace").splitlines() if "[E]" in line][-3:]
            raise AgentError("runtime-failed", "trtexec does not time %s (status %d): %s" % (plan, done.returncode, "; ".join(said)))
        if os.path.getsize(trace) > TRACE_BYTES_MAX:
            raise AgentError("runtime-failed", "trtexec's times are more than %d bytes" % TRACE_BYTES_MAX, "ask for a shorter run")
        watched = sampler.end()
        with open(trace, "rb") as file:
            invoke_ns, parts_ns = series(file.read())
    half = len(invoke_ns) // 2
    medians = [statistics.median(part) for part in (invoke_ns[:half] or invoke_ns, invoke_ns[half:])]
    return {
        "import_ns": None,
        "load_ns": None,
        "first_invoke_ns": None,
        "warmup": {"runs": 0, "seconds": WARM_UP_MS / 1e3, "steady": abs(medians[1] - medians[0]) <= STEADY * medians[0]},
        "invoke_ns": invoke_ns,
        "parts_ns": parts_ns,
        "end_to_end_ns": [],
        "stages_ns": {},
        "capped": len(invoke_ns) == KEPT_MAX,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        "gpu_memory_bytes": None,
        "threads": threads,
        "runtime": {"name": "trtexec", "version": programs()[0]["version"]},
        "delegate": None,
        "fed": FED + ("" if "h2d" in parts_ns else NO_COPIES),
        **watched,
    }


def series(trace: bytes) -> tuple[list[int], dict[str, list[int]]]:
    """Return the latency of each run, and of its parts, in nanoseconds; copies that were not made are no part.

    Older releases leave the runs of the warm-up in the file: those that began to compute before it ended.
    """
    try:
        rows = [row for row in json.loads(trace) if row["startComputeMs"] >= WARM_UP_MS][:KEPT_MAX]
        parts = {name: [_ns(row[key]) for row in rows] for name, key in PARTS.items()}
        invoke = [_ns(row["latencyMs"]) for row in rows]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AgentError("runtime-failed", "trtexec's times are not in the form that is known: %r" % error) from error
    if not invoke:
        raise AgentError("runtime-failed", "trtexec timed no run after its warm-up")
    copied = any(parts["h2d"]) or any(parts["d2h"])
    return invoke, {name: values for name, values in parts.items() if copied or name == "compute"}


def _ns(value: float) -> int:
    if not 0 <= value < 86_400_000:  # a day, and no NaN
        raise ValueError("a time of %r ms" % value)
    return round(value * NS_PER_MS)
