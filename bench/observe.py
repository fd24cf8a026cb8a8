"""What observing a calibration set costs, beside the least it could: one plain pass of the float network over the same samples.

    python bench/observe.py [--models efficientnet_lite0 ...] [--samples 100 1000] [--rounds 3]

Each row is a process of its own. Both passes read the same samples from memory, in turn, ``--rounds`` times; times are the
medians, seconds by the clock and of all cores together. Peak memory is that of the whole process with Python, ONNX Runtime,
the model and, of samples, one hundred. Models and samples: as for ``bench/ranges.py``.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.ranges import CASES, calibration
from edgekit.graph import Array
from edgekit.quantize.normalise import normalise
from edgekit.quantize.observe import observe, session
from edgekit.sources import source_for

HELD = 100


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds by the clock, and of all cores."""
    clock, cores = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cores


def measure(name: str, samples: int, rounds: int) -> str:
    case = CASES[name]
    source = source_for(case.path)
    graph = normalise(source.load(source.read(case.path)))
    (entry,) = graph.inputs
    held = [x for x, _ in itertools.islice(calibration(case), HELD)]

    def feeds() -> Iterator[dict[str, Array]]:
        return ({entry.name: x} for x in itertools.islice(itertools.cycle(held), samples))

    plain = session(graph)
    pairs = [
        (timed(lambda: [plain.run(None, feed) and None for feed in feeds()]), timed(lambda: observe(graph, feeds(), total=samples)))
        for _ in range(rounds)
    ]
    figures = [statistics.median(pair[which][kind] for pair in pairs) for which in (0, 1) for kind in (0, 1)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ratios = figures[2] / figures[0], figures[3] / figures[1]
    cells = [name, str(samples), *(f"{figure:.2f}" for figure in figures), *(f"{ratio:.1f}" for ratio in ratios), f"{peak:.0f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", choices=CASES, default=[name for name in CASES if name != "resnet32"])
    parser.add_argument("--samples", nargs="+", type=int, default=[100, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.row:
        print(measure(chosen.models[0], chosen.samples[0], chosen.rounds))
        return
    print("| model | samples | plain pass, s | cores, s | observe, s | cores, s | ratio | ratio of cores | peak RSS, MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name, samples in itertools.product(chosen.models, chosen.samples):
        words = ["--row", "--models", name, "--samples", str(samples), "--rounds", str(chosen.rounds)]
        subprocess.run([sys.executable, __file__, *words], check=True)


if __name__ == "__main__":
    main()
