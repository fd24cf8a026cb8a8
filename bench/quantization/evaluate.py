"""Run files in their runtime, in its environment: for their answers, or for how long they take side by side.

    python -m bench.quantization.evaluate outputs RUNTIME MODEL SAMPLES OUT.npy
    python -m bench.quantization.evaluate latency RUNTIME MODELS.json SAMPLES OUT.json

Answers come with the runtime's default options. Latency is of one thread, with inputs at hand in the type and
layout the file takes; the files run in turns, each round in another order, so that a machine whose speed drifts
treats them alike.
"""

from __future__ import annotations

import importlib
import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np

from bench.quantization.feed import Samples
from bench.quantization.runtimes import Opened

WARM_UP_ROUNDS = 10
LEAST_ROUNDS, MOST_ROUNDS, LEAST_S, MOST_S = 60, 2000, 5.0, 60.0
_FEEDS = 8


def open_file(runtime: str, path: Path, threads: int | None) -> Opened:
    opened: Opened = importlib.import_module(f"bench.quantization.runtimes.{runtime}").open_file(path, threads)
    return opened


def outputs(runtime: str, model: Path, samples: Samples, out: Path) -> None:
    opened = open_file(runtime, model, None)
    rows = []
    for sample in samples:
        opened.feed(sample)
        opened.invoke()
        rows.append(opened.output().reshape(-1))
    np.save(out, np.stack(rows).astype(np.float32))


def latency(runtime: str, models: dict[str, str], samples: Samples, out: Path) -> None:
    """Write the seconds of every round by name: {name: [seconds, ...]}."""
    opened = {name: open_file(runtime, Path(path), 1) for name, path in models.items()}
    feeds = list(itertools.islice(samples, _FEEDS))
    taken: dict[str, list[float]] = {name: [] for name in opened}
    names, begun = list(opened), time.perf_counter()
    for number in itertools.count():
        spent, counted = time.perf_counter() - begun, number - WARM_UP_ROUNDS
        if (counted >= LEAST_ROUNDS and spent >= LEAST_S) or counted >= MOST_ROUNDS or spent >= MOST_S:
            break
        for name in names[number % len(names) :] + names[: number % len(names)]:
            opened[name].feed(feeds[number % len(feeds)])
            start = time.perf_counter()
            opened[name].invoke()
            if number >= WARM_UP_ROUNDS:
                taken[name].append(round(time.perf_counter() - start, 8))
    out.write_text(json.dumps(taken), encoding="utf-8")


def main() -> None:
    what, runtime, model, samples, out = sys.argv[1:]
    if what == "outputs":
        outputs(runtime, Path(model), Samples(Path(samples)), Path(out))
    else:
        latency(runtime, json.loads(Path(model).read_text(encoding="utf-8")), Samples(Path(samples)), Path(out))


if __name__ == "__main__":
    main()
