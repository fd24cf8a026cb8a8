"""The same input again and again: job `probe.consistency`. Every answer must be the first one, byte for byte."""

from __future__ import annotations

import time
from typing import Any

from . import preprocess
from .accuracy import steps
from .latency import golden_inputs
from .runner import open_release
from .wire import Progress, integer


def probe(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Run the golden samples ``rounds`` times, the second half in a runtime opened anew; tell how often each answer was another."""
    rounds = integer(job, "rounds", 2, 100_000, 100)
    first: list[Any] = []
    different, worst, told = [0, 0], 0.0, time.monotonic()
    for half, count in enumerate((rounds - rounds // 2, rounds // 2)):
        declared, kept, runner = open_release(job, root)
        checked = preprocess.check(declared)
        raw, shapes = golden_inputs(kept["samples"], runner)
        fed = [preprocess.feed(checked, sample, shapes) for sample in raw]
        for turn in range(count):
            for place, sample in enumerate(fed):
                runner.set(sample)
                runner.invoke()
                output = runner.get()
                if len(first) < len(fed):
                    first.append(output)
                elif output.tobytes() != first[place].tobytes():
                    different[half] += 1
                    worst = max(worst, min(steps(first[place], output), 1e9))
            if time.monotonic() - told > 0.5:  # seconds
                told = time.monotonic()
                progress("consistency", half * (rounds - rounds // 2) + turn, rounds)
        answer = {"samples": len(fed), "runtime": runner.runtime, "delegate": runner.delegate}
        runner.close()
    return {"rounds": rounds, "different": different[0], "different_anew": different[1], "steps_max": worst, **answer}
