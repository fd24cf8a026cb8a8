"""Which method of choosing activation ranges is best: the measurement behind ``ranges.DEFAULT_METHOD``.

    python -m bench.ranges [--evaluate 300] [--models resnet20 ...] [--methods mse ...]

Each model is equalised and observed once, its weights are recovered once (they do not depend on ranges), every
method chooses ranges from the same histograms, and the emitted .tflite runs in LiteRT against the float model in
ONNX Runtime on samples calibration never saw.
Prints the table of ``docs/benchmarks.md``; its seconds are those of observing and of choosing.
Models and samples: ``EDGEKIT_TEST_DATA`` (default ../shared/data) and ``EDGEKIT_MADE_DATA``
(default ~/.cache/edgekit-test-data).
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from edgekit import lazy
from edgekit.graph import Array, Graph
from edgekit.plan import QuantPlan
from edgekit.quantize.calibrate import METHODS, plan_from
from edgekit.quantize.equalise import equalise
from edgekit.quantize.normalise import normalise
from edgekit.quantize.observe import observe, session
from edgekit.quantize.ranges import Method
from edgekit.quantize.recover import recover
from edgekit.runtimes import RUNTIMES
from edgekit.sources import source_for

DATA = Path(os.environ.get("EDGEKIT_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
MADE = Path(os.environ.get("EDGEKIT_MADE_DATA") or Path.home() / ".cache" / "edgekit-test-data")

CIFAR_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
CIFAR_STD = np.array([0.229, 0.224, 0.225], np.float32)


@dataclass(frozen=True)
class Case:
    """A model, how its samples look, and how many calibrate."""

    path: Path
    data: str
    side: int
    calibrate: int


CASES = {
    "resnet20": Case(DATA / "models" / "resnet20_cifar10.onnx", "cifar10", 32, 500),
    "resnet32": Case(DATA / "models" / "resnet32_cifar10.onnx", "cifar10", 32, 500),
    "mobilenetv2": Case(DATA / "models" / "mobilenetv2_backbone_cifar10probe_128.onnx", "cifar10", 128, 100),
    "efficientnet_lite0": Case(MADE / "models" / "efficientnet_lite0_imagenet_224.onnx", "imagenet", 224, 100),
}


def cifar(file: str, side: int, count: int) -> Iterator[tuple[Array, int]]:
    with np.load(DATA / "sets" / file, allow_pickle=False) as held:
        images, labels = held["x"][:count], held["y"][:count]
    for image, label in zip(images, labels, strict=True):
        if side != image.shape[0]:
            image = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))
        x = (image.astype(np.float32) / 255.0 - CIFAR_MEAN) / CIFAR_STD
        yield x.transpose(2, 0, 1)[None].astype(np.float32), int(label)


def imagenet(first: int, count: int) -> Iterator[tuple[Array, int]]:
    folder = DATA / "sets" / "imagenet_nips17_224_400"
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows[first : first + count]:
        image = np.asarray(Image.open(folder / row["file"]).convert("RGB"), np.float32)
        yield ((image - 127.0) / 128.0).transpose(2, 0, 1)[None], int(row["label"])


def calibration(case: Case) -> Iterator[tuple[Array, int]]:
    if case.data == "imagenet":
        return imagenet(0, case.calibrate)
    return cifar("cifar10_train_first500_calibration.npz", case.side, case.calibrate)


def evaluation(case: Case, count: int) -> Iterator[tuple[Array, int]]:
    if case.data == "imagenet":
        return imagenet(case.calibrate, count)
    return cifar("cifar10_test_even_first2000.npz", case.side, count)


def run_tflite(graph: Graph, plan: QuantPlan, inputs: list[Array], threads: int) -> Array:
    artifact = lazy.load(RUNTIMES["tflite"])().emit(graph, plan, io_dtype="int8", layout="nhwc")
    interpreter = Interpreter(model_content=artifact.data, num_threads=threads)
    interpreter.allocate_tensors()
    entry, leave = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    (scale, zero), (out_scale, out_zero) = entry["quantization"], leave["quantization"]
    results = []
    for x in inputs:
        q = np.clip(np.rint(x.transpose(0, 2, 3, 1) / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(entry["index"], q)
        interpreter.invoke()
        results.append((interpreter.get_tensor(leave["index"]).astype(np.float32) - out_zero) * out_scale)
    return np.concatenate(results)


def sqnr_db(reference: Array, got: Array) -> float:
    noise = float(np.sum((reference - got).astype(np.float64) ** 2))
    return 10.0 * math.log10(float(np.sum(reference.astype(np.float64) ** 2)) / noise) if noise else math.inf


def measure(name: str, case: Case, methods: list[Method], count: int, threads: int) -> None:
    source = source_for(case.path)
    graph = normalise(source.load(source.read(case.path)))
    (entry,) = graph.inputs
    known = [{entry.name: x} for x, _ in calibration(case)]
    equalised = equalise(graph, lambda: known)
    begun = time.perf_counter()
    histograms = observe(equalised, known, total=case.calibrate)
    observed_s = time.perf_counter() - begun
    first = plan_from(equalised, histograms, total=case.calibrate, method="minmax", dataset_sha256=None)
    done = recover(equalised, first, lambda: known)
    pairs = list(evaluation(case, count))
    inputs, labels = [x for x, _ in pairs], np.array([label for _, label in pairs])
    runner = session(graph)
    wanted = np.concatenate([runner.run(None, {entry.name: x})[0] for x in inputs])
    right = wanted.argmax(1) == labels
    sets = f"{case.calibrate} / {len(labels)}"
    for method in methods:
        begun = time.perf_counter()
        plan = plan_from(equalised, histograms, total=case.calibrate, method=method, dataset_sha256=None)
        chosen_s = time.perf_counter() - begun
        got = run_tflite(done.graph, msgspec.structs.replace(plan, weights=done.plan.weights), inputs, threads)
        differ = (got.argmax(1) != wanted.argmax(1)).mean()
        drop = right.mean() - (got.argmax(1) == labels).mean()
        row = f"{100 * right.mean():.2f} | {method} | {sqnr_db(wanted, got):.2f} | {100 * differ:.2f} | {100 * drop:+.2f}"
        print(f"| {name} | {sets} | {row} | {observed_s:.0f} + {chosen_s:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluate", type=int, default=300, help="samples to evaluate on (default 300)")
    parser.add_argument("--models", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--threads", type=int, default=1, help="of LiteRT")
    wanted = parser.parse_args()
    tools = ", ".join(f"{package} {version(package)}" for package in ("ai-edge-litert", "numpy", "onnxruntime"))
    print(f"{platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, {tools}\n")
    print("| model | calibrated / evaluated on | float top-1, % | method | SQNR, dB | disagreement, % | top-1 lost, points | seconds |")
    print("|---|---|---:|---|---:|---:|---:|---:|")
    for name in wanted.models:
        if CASES[name].path.is_file():
            measure(name, CASES[name], wanted.methods, wanted.evaluate, wanted.threads)
        else:
            print(f"{name}: skipped, {CASES[name].path} is absent", file=sys.stderr)


if __name__ == "__main__":
    main()
