"""edgekit's timing of an inference against its peers': ``litert-benchmark``, a plain loop over LiteRT, a loop as onnxruntime_perf_test's.

    python -m bench.probe MODEL.tflite MODEL.onnx [--rounds 15] [--runs 500]

The same file, threads (1), input and cores for all; each in a process of its own, in an order drawn anew each round. Printed are medians
of each, and the median over rounds of the ratios of medians and of fifth percentiles: the second says more on a machine with other work.
Then what the loop itself costs: the time between two inferences that is in no figure, and what an empty call measures.

litert-benchmark runs LiteRT's newer interface (CompiledModel) on random input of its own, edgekit its Interpreter: the plain loop is the
one that differs in nothing but the loop. It tells hundredths of a millisecond: take a model of some milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

Times = tuple[float, float]  # median and fifth percentile, in microseconds

WARM_UP = 50
CORES = sorted(os.sched_getaffinity(0))
TIMED = CORES[:-1] or CORES  # edgekit watches the board from the last one

HEAD = f"""
import sys, time
path, runs, warm_up = sys.argv[1], int(sys.argv[2]), {WARM_UP}
def made(dtype, shape):
    return rng.integers(0, 100, shape).astype(dtype) if dtype.startswith("int") else rng.normal(size=shape).astype(dtype)
def tell(times_us):
    print(np.median(times_us), np.percentile(times_us, 5))
"""
EDGEKIT = """
from edgekit.ondevice import latency, runner, sampler
watch = sampler.Sampler(1)
import numpy as np
one, rng = runner.open_artifact("/nonexistent", path, 1), np.random.default_rng(1)
one.set({entry["name"]: made(entry["dtype"], entry["shape"]) for entry in one.inputs})
silent = lambda stage, done, total: None
latency.measure(one.invoke, "warm-up", 0, warm_up, silent)
watch.phase("invoke")
series = latency.measure(one.invoke, "latency", 0, runs, silent)
watch.end()
tell(np.array(series) / 1e3)
"""
LOOP = """
times = []
for _ in range(warm_up + runs):
    begun = time.perf_counter()
    run()
    times.append(time.perf_counter() - begun)
tell(np.array(times[-runs:]) * 1e6)
"""
LITERT = """
import numpy as np
from ai_edge_litert.interpreter import Interpreter
one, rng = Interpreter(path, num_threads=1), np.random.default_rng(1)
one.allocate_tensors()
for entry in one.get_input_details():
    one.set_tensor(entry["index"], made(np.dtype(entry["dtype"]).name, entry["shape"]))
run = one.invoke
"""
ONNX = """
import numpy as np
import onnxruntime
options, rng = onnxruntime.SessionOptions(), np.random.default_rng(1)
options.intra_op_num_threads = 1
options.add_session_config_entry("session.x64quantprecision", "1")  # as edgekit opens it: other kernels take other times
one = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
feed = {entry.name: made("float32", entry.shape) for entry in one.get_inputs()}
names = [one.get_outputs()[0].name]
run = lambda: one.run(names, feed)
"""
EMPTY = """
import sys, time
from edgekit.ondevice import latency
silent = lambda stage, done, total: None
empty = lambda: None
latency.measure(empty, "warm-up", 0, 20000, silent)
begun = time.perf_counter_ns()
series = latency.measure(empty, "latency", 0, 200000, silent)
spent = time.perf_counter_ns() - begun
print((spent - sum(series)) / len(series) / 1e3, sorted(series)[len(series) // 2] / 1e3)
"""


def said(words: list[str], cores: list[int]) -> list[str]:
    begin = partial(os.sched_setaffinity, 0, cores)
    return subprocess.run(words, check=True, capture_output=True, text=True, preexec_fn=begin).stdout.split()


def timed(code: str, cores: list[int], path: Path, runs: int) -> Times:
    median, fifth = said([sys.executable, "-c", HEAD + code, str(path), str(runs)], cores)[-2:]
    return float(median), float(fifth)


def litert_benchmark(path: Path, runs: int) -> Times:
    """Run LiteRT's own program."""
    with tempfile.NamedTemporaryFile(suffix=".json") as result:
        words = [str(Path(sys.executable).with_name("litert-benchmark")), "--model", str(path), "--num_threads", "1"]
        said([*words, "--num_runs", str(runs), "--warmup_runs", str(WARM_UP), "--result_json", result.name], TIMED)
        found = json.loads(Path(result.name).read_text())["latency"]
    return 1e3 * found["median_ms"], 1e3 * found["p5_ms"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tflite", type=Path)
    parser.add_argument("onnx", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--runs", type=int, default=500)
    asked = parser.parse_args()
    ours = partial(timed, EDGEKIT, CORES)
    contests: dict[Path, dict[str, Callable[[Path, int], Times]]] = {
        asked.tflite: {"edgekit": ours, "litert-benchmark": litert_benchmark, "plain LiteRT loop": partial(timed, LITERT + LOOP, TIMED)},
        asked.onnx: {"edgekit": ours, "onnxruntime loop": partial(timed, ONNX + LOOP, TIMED)},
    }
    for path, peers in contests.items():
        times: dict[str, list[Times]] = {name: [] for name in peers}
        for _ in range(asked.rounds):
            for name in random.sample(sorted(peers), len(peers)):
                times[name].append(peers[name](path, asked.runs))
        print(f"{path.name}, 1 thread, {asked.rounds} rounds of {asked.runs} runs", flush=True)
        for name, found in times.items():
            ratios = [[one[which] / other[which] for one, other in zip(times["edgekit"], found, strict=True)] for which in (0, 1)]
            median, fifth = (statistics.median(values) for values in ratios)
            middle = statistics.median(one[0] for one in found)
            print(f"  {name:<18} median {middle:9.1f} us   edgekit / it: median {median:.3f}, fifth percentile {fifth:.3f}", flush=True)
    costs = [tuple(map(float, said([sys.executable, "-c", EMPTY], TIMED))) for _ in range(asked.rounds)]
    between, empty = (statistics.median(column) for column in zip(*costs, strict=True))
    print(f"loop: {between:.2f} us between two inferences, in no figure; an empty call measures {empty:.2f} us")


if __name__ == "__main__":
    main()
