"""How long each operator takes: job `probe.ops`, where the runtime tells. The profile costs time itself: shares count, not sums."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

from . import preprocess
from .latency import golden_inputs
from .onnx import OnnxRunner
from .runner import find_release, kind_of
from .wire import AgentError, Progress, integer

WARM_RUNS = 10
PROFILE_BYTES_MAX = 256 << 20
NODE = "_kernel_time"  # how onnxruntime's profiler ends the name of a node's event (profiler documentation; sequential_executor.cc)
UNSUPPORTED = {
    "tflite": "LiteRT tells Python nothing of single operators; its benchmark_model does, with --enable_op_profiling=true",
    "tensorrt": "layers of an engine are not timed by this probe; trtexec does, with --dumpProfile --separateProfileRun",
}


def probe(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Run a release ``runs`` times under onnxruntime's profiler; nanoseconds of each node, of each run."""
    threads, runs, found = integer(job, "threads", 1, 256, 1), integer(job, "runs", 1, 1000, 50), find_release(job, root)
    kind = kind_of(found.artifact)
    if kind in UNSUPPORTED:
        return {"unsupported": UNSUPPORTED[kind]}
    with tempfile.TemporaryDirectory(prefix="edgekit-profile-") as folder:
        runner = OnnxRunner(root, found.artifact, threads, False, profile=os.path.join(folder, "profile"))
        raw, shapes = golden_inputs(found.golden["samples"], runner)
        runner.set(preprocess.feed(preprocess.check(found.preprocess), raw[0], shapes))
        for run in range(WARM_RUNS + runs):
            runner.invoke()
            progress("profile", run + 1, WARM_RUNS + runs)
        path = runner.end_profile()
        if os.path.getsize(path) > PROFILE_BYTES_MAX:
            raise AgentError("runtime-failed", "the profile is more than %d bytes" % PROFILE_BYTES_MAX, "ask for fewer runs")
        with open(path, "rb") as file:
            nodes = operators(file.read(), runs)
    return {"unsupported": None, "runs": runs, "threads": threads, "nodes": nodes, "runtime": runner.runtime}


def operators(profile: bytes, runs: int) -> list[dict[str, Any]]:
    """Return name, operator and times of each node in the order they first ran; the warm-up's are left out."""
    found: dict[str, dict[str, Any]] = {}
    try:
        for event in json.loads(profile):
            if event.get("cat") == "Node" and event["name"].endswith(NODE):
                name = event["name"][: -len(NODE)]
                entry = found.setdefault(name, {"name": name[:200], "op": str(event["args"]["op_name"])[:200], "times_ns": []})
                entry["times_ns"].append(int(event["dur"]) * 1000)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AgentError("runtime-failed", "onnxruntime's profile is not in the form that is known: %r" % error) from error
    for entry in found.values():
        times = entry["times_ns"]
        each = max(1, len(times) // (WARM_RUNS + runs))  # a node in a loop runs several times
        kept = times[WARM_RUNS * each :] or times
        entry["times_ns"] = [sum(kept[start : start + each]) for start in range(0, len(kept), each)][:runs]
    return list(found.values())
