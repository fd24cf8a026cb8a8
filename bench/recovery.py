"""What each technique of winning accuracy back is worth: the measurement behind the defaults of ``[quantize]``.

    python -m bench.recovery [--models mobilenetv2 ...] [--evaluate 500] [--symmetric]

Each model is quantized without any technique, with each in turn added to those before it, and with all but one.
The emitted .tflite runs in LiteRT against the float model in ONNX Runtime on samples calibration never
saw; with ``--symmetric`` the plan's arithmetic is simulated instead (activations symmetric, sums exact, as TensorRT has it).
Seconds are of the whole quantization: equalise, observe, choose ranges, recover. Models and samples: as in ``ranges.py``.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from bench.ranges import CASES, Case, calibration, evaluation, run_tflite, sqnr_db
from edgekit.graph import Array, Graph
from edgekit.plan import ASYMMETRIC, Scheme
from edgekit.quantize import simulate
from edgekit.quantize.calibrate import DEFAULT_METHOD, plan_from
from edgekit.quantize.equalise import equalise
from edgekit.quantize.normalise import normalise
from edgekit.quantize.observe import observe, session
from edgekit.quantize.recover import Recovered, Recovery, recover
from edgekit.sources import source_for

SYMMETRIC = Scheme(symmetric=True, stores=False)
EVALUATED = {"mobilenetv2": 500, "efficientnet_lite0": 300, "resnet20": 2000, "resnet32": 2000}


@dataclass(frozen=True)
class Row:
    """One choice of techniques."""

    name: str
    equalise: bool
    recovery: Recovery


ROWS = (
    Row("none", False, Recovery(weight_ranges=False, rounding=False, bias=False)),
    Row("bias", False, Recovery(weight_ranges=False, rounding=False)),
    Row("bias, rounding", False, Recovery(weight_ranges=False)),
    Row("bias, rounding, weight_ranges", False, Recovery()),
    Row("all", True, Recovery()),
    Row("all but bias", True, Recovery(bias=False)),
    Row("all but rounding", True, Recovery(rounding=False)),
    Row("all but weight_ranges", True, Recovery(weight_ranges=False)),
)


def quantized(graph: Graph, case: Case, inputs: list[Array], row: Row, scheme: Scheme) -> Recovered:
    entry = graph.inputs[0].name

    def samples() -> Iterator[dict[str, Array]]:
        return ({entry: x} for x in inputs)

    found = equalise(graph, samples) if row.equalise else graph
    histograms = observe(found, samples(), total=case.calibrate)
    plan = plan_from(found, histograms, total=case.calibrate, method=DEFAULT_METHOD, dataset_sha256=None, scheme=scheme)
    return recover(found, plan, samples, options=row.recovery)


def measure(name: str, case: Case, count: int, scheme: Scheme) -> None:
    source = source_for(case.path)
    graph = normalise(source.load(source.read(case.path)))
    (entry,) = graph.inputs
    pairs = list(evaluation(case, count))
    inputs, labels = [x for x, _ in pairs], np.array([label for _, label in pairs])
    runner = session(graph)
    wanted = np.concatenate([runner.run(None, {entry.name: x})[0] for x in inputs])
    right = (wanted.argmax(1) == labels).mean()
    known = [x for x, _ in calibration(case)]
    for row in ROWS:
        begun = time.perf_counter()
        done = quantized(graph, case, known, row, scheme)
        seconds = time.perf_counter() - begun
        if scheme.symmetric:
            simulated = simulate.session(simulate.simulate(done.graph, done.plan))
            got = np.concatenate([simulated.run(None, {entry.name: x})[0] for x in inputs])
        else:
            got = run_tflite(done.graph, done.plan, inputs, threads=1)
        differ, lost = (got.argmax(1) != wanted.argmax(1)).mean(), right - (got.argmax(1) == labels).mean()
        figures = f"{sqnr_db(wanted, got):.2f} | {100 * differ:.2f} | {100 * lost:+.2f} | {seconds:.1f}"
        print(f"| {name} | {case.calibrate} / {len(labels)} | {100 * right:.2f} | {row.name} | {figures} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--evaluate", type=int, help="samples to evaluate on (default: 300 to 2,000, whatever is usual for the model)")
    parser.add_argument("--symmetric", action="store_true", help="simulate symmetric activations instead of running LiteRT")
    wanted = parser.parse_args()
    tools = ", ".join(f"{package} {version(package)}" for package in ("ai-edge-litert", "numpy", "onnxruntime"))
    print(f"{platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, {tools}\n")
    print("| model | calibrated / evaluated on | float top-1, % | techniques | SQNR, dB | disagreement, % | top-1 lost, points | seconds |")
    print("|---|---|---:|---|---:|---:|---:|---:|")
    for name in wanted.models:
        if CASES[name].path.is_file():
            measure(name, CASES[name], wanted.evaluate or EVALUATED[name], SYMMETRIC if wanted.symmetric else ASYMMETRIC)
        else:
            print(f"{name}: skipped, {CASES[name].path} is absent", file=sys.stderr)


if __name__ == "__main__":
    main()
