"""What a process shows once: job `probe.cold`, how long it takes to the first answer; job `probe.memory`, what that holds.

The agent is a process of its own for each job, so that nothing was imported or opened before.
"""

from __future__ import annotations

import importlib
import re
import time
from typing import Any

from . import preprocess
from .latency import golden_inputs
from .runner import find_release, kind_of, open_artifact
from .runtimes import import_runtime
from .sampler import Sampler
from .sensor import read_text
from .wire import Progress, integer

INVOKES = 10
NO_SPARE = 1 << 16  # no board has as many cores: no process watches one that lasts for seconds, and the start gets all cores


def cold(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Import the runtime, load a release and run it twice; times of the interpreter's own start are not had from inside."""
    threads, found = integer(job, "threads", 1, 256, 1), find_release(job, root)
    kind, clock, sampler = kind_of(found.artifact), time.perf_counter_ns, Sampler(NO_SPARE)
    sampler.phase("cold")
    begun = clock()
    importlib.import_module("numpy")
    import_runtime(root, kind)
    imported = clock()
    runner = open_artifact(root, found.artifact, threads, dla_core=found.dla_core)
    opened = clock()
    raw, shapes = golden_inputs(found.golden["samples"], runner)
    runner.set(preprocess.feed(preprocess.check(found.preprocess), raw[0], shapes))
    ready = clock()
    runner.invoke()
    answered = clock()
    runner.invoke()
    again = clock()
    times = {"import": imported - begun, "load": opened - imported, "first_invoke": answered - ready, "second_invoke": again - answered}
    return {"times_ns": times, "threads": threads, "runtime": runner.runtime, "delegate": runner.delegate, **sampler.end()}


def memory(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Hold what a release needs, one part after the other, and tell the memory after each."""
    threads, found = integer(job, "threads", 1, 256, 1), find_release(job, root)
    kind, stages = kind_of(found.artifact), {"interpreter": _memory()}
    importlib.import_module("numpy")
    import_runtime(root, kind)
    stages["runtime"] = _memory()
    runner = open_artifact(root, found.artifact, threads, dla_core=found.dla_core)
    stages["model"] = _memory()
    raw, shapes = golden_inputs(found.golden["samples"], runner)
    runner.set(preprocess.feed(preprocess.check(found.preprocess), raw[0], shapes))
    for _ in range(INVOKES):
        runner.invoke()
    runner.get()
    stages["invoke"] = _memory()
    return {"stages": stages, "gpu_memory_bytes": runner.gpu_memory_bytes, "threads": threads, "runtime": runner.runtime}


def _memory() -> dict[str, int | None]:
    """Return this process's memory in bytes: the most so far, now, and of that what no file backs (proc_pid_status(5))."""
    found = dict(re.findall(r"^(VmHWM|VmRSS|RssAnon):\s+(\d+) kB$", read_text("/proc/self/status") or "", re.MULTILINE))
    keys = {"peak": "VmHWM", "now": "VmRSS", "anonymous": "RssAnon"}
    return {name: int(found[key]) * 1024 if key in found else None for name, key in keys.items()}
