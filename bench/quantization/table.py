"""The Markdown document of all results. ``run`` prints it."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Iterator
from pathlib import Path

from bench.quantization import result
from bench.quantization.case import CASES
from bench.quantization.environment import ENVIRONMENTS, versions
from bench.quantization.measure import Latency
from bench.quantization.peer import PEERS
from bench.quantization.result import Result
from bench.quantization.score import ratio

__all__ = ["document", "latencies", "results_of"]

_HEAD = """\
# Quantization, side by side

`python bench/quantization/run.py --docs` measures and writes this page; how, and how to repeat it: `bench/quantization/README.md`.

Everybody gets the same float model with pinned shapes, the same prepared samples to calibrate on, and otherwise their default options, per
channel. Files are judged in their own runtime with its default options, on samples that calibration never saw.

- *Lost*: points of top-1, against the float model in ONNX Runtime.
- *Disagreement*: samples whose class is not the float model's, right or wrong.
- *SQNR*: power of the float outputs over that of the error.
- *Seconds*: from the call to the file: reading model and samples, calibrating, quantizing, writing. Loading the peer is not in it.
- *CPU s*: what all cores spent on that together.
- *Peak*: the most memory its process had resident, libraries and all.
- Costs that are left out were not taken in the same quiet run as the others.
- *Latency*: INT8 over float in the same runtime, one thread, runs interleaved, median of the ratios round by round.
"""
_TFLITE = """\
## TFLite beside TFLite

Milliseconds in LiteRT, one thread, and the median of edgekit over the fastest peer, round by round.

| model | fastest peer | edgekit | peer | float | edgekit / peer |
|---|---|---:|---:|---:|---:|
"""
_MEMORY = """\
## Memory and the number of samples

{title}, `python bench/quantization/memory.py`.

| peer | seconds, {few:,} | seconds, {many:,} | peak MiB, {few:,} | peak MiB, {many:,} | peak ratio |
|---|---:|---:|---:|---:|---:|
"""
_COLUMNS = "| model | peer | top-1, % | lost | disagreement, % | SQNR, dB | seconds | CPU s | peak, MiB | file, MB | latency |"


def document(folder: Path, samples: int) -> str:
    """Return the page: what it says, the table, TFLite beside TFLite, memory, versions."""
    table = [_COLUMNS, "|---|---|" + "---:|" * 9, *(row for model in CASES for row in _rows(folder, model, samples))]
    parts = [_HEAD, _machine(samples), "\n".join(table), "\n![disagreement and cost](quantization.svg)\n"]
    return "\n".join([*parts, *_tflite(folder), *_memory(folder), _versions()])


def results_of(folder: Path, model: str, samples: int) -> list[Result]:
    """Return what is known of a model calibrated on so many samples, in the order of ``PEERS``."""
    known = (result.read(folder / model / f"{name}.json") for name in PEERS)
    return [found for found in known if found and found.samples == samples]


def latencies(folder: Path, model: str, runtime: str) -> Latency:
    """Return the seconds of each round by peer, and of float under ``"float"``."""
    path = folder / model / f"latency-{runtime}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))["seconds"]) if path.is_file() else {}


def _rows(folder: Path, model: str, samples: int) -> Iterator[str]:
    known = results_of(folder, model, samples)
    scores = [found.score for found in known if found.score]
    if scores:
        yield f"| **{CASES[model].title}** ({scores[0].samples:,}) | float | {scores[0].float_top1:.2f} | | | | | | | | |"
    for found in known:
        yield f"| | {PEERS[found.peer].title} | {' | '.join(_cells(folder, found))} |"


def _cells(folder: Path, found: Result) -> list[str]:
    judged, peer = found.score, PEERS[found.peer]
    costs = [""] * 3
    if found.costs:
        seconds, cpu_s, peak = map(found.median, ("seconds", "cpu_s", "peak_mib"))
        costs = [f"{seconds:.1f}", f"{cpu_s:.1f}", f"{peak:,.0f}"]
    if judged is None:
        return [found.error or "", "", "", "", *costs, "", ""]
    taken = latencies(folder, found.model, str(peer.runtime))
    slower = f"{ratio(taken[found.peer], taken['float']):.2f}" if found.peer in taken else ""
    lost = judged.float_top1 - judged.top1
    exact = "exact" if math.isinf(judged.sqnr_db) else f"{judged.sqnr_db:.1f}"
    size = f"{found.artifact_bytes / 1e6:.2f}"
    return [f"{judged.top1:.2f}", f"{lost:+.2f}", f"{judged.disagreement:.2f}", exact, *costs, size, slower]


def _tflite(folder: Path) -> Iterator[str]:
    lines = []
    for model, case in CASES.items():
        taken = latencies(folder, model, "litert")
        others = [name for name in taken if name != "float" and not PEERS[name].is_edgekit]
        if "edgekit-tflite" in taken and others:
            best = min(others, key=lambda name: statistics.median(taken[name]))
            times = [f"{1000 * statistics.median(taken[name]):.3f}" for name in ("edgekit-tflite", best, "float")]
            lines.append(
                f"| {case.title} | {PEERS[best].title} | {' | '.join(times)} | {ratio(taken['edgekit-tflite'], taken[best]):.2f} |"
            )
    if lines:
        yield _TFLITE + "\n".join(lines) + "\n"


def _memory(folder: Path) -> Iterator[str]:
    path = folder / "memory.json"
    if not path.is_file():
        return
    held = json.loads(path.read_text(encoding="utf-8"))
    few, many = held["samples"]
    lines = []
    for name, (first, second) in held["costs"].items():
        cells = f"{first['seconds']:.1f} | {second['seconds']:.1f} | {first['peak_mib']:,.0f} | {second['peak_mib']:,.0f}"
        lines.append(f"| {PEERS[name].title} | {cells} | {second['peak_mib'] / first['peak_mib']:.2f} |")
    yield _MEMORY.format(title=CASES[held["model"]].title, few=few, many=many) + "\n".join(lines) + "\n"


def _machine(samples: int) -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{samples:,} calibration samples. Measured on {processor}, {os.cpu_count()} cores, without a GPU.\n"


def _versions() -> str:
    pinned = {package: version for name in ENVIRONMENTS for package, version in versions(name).items() if name == package.replace("_", "-")}
    pinned |= {"nvidia-modelopt": versions("modelopt")["nvidia-modelopt"], "openvino": versions("nncf")["openvino"]}
    pinned |= {"ai-edge-litert": versions("litert-quantizer")["ai-edge-litert"]}
    return "Versions: " + ", ".join(f"{package} {version}" for package, version in sorted(pinned.items())) + ".\n"
