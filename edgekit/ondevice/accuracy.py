"""Running an artifact over samples: the golden check of a release, its predictions on a set, and any artifact on the host.

Jobs `golden`, `probe.accuracy`, `infer`. Memory holds one sample.
"""

from __future__ import annotations

import collections
import hashlib
import math
import os
import time
from typing import TYPE_CHECKING, Any, Iterator

from . import preprocess
from .runner import Runner, open_release
from .samples import Samples, write
from .store import check_blob
from .wire import DIGEST, AgentError, Progress, integer, matching, number

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Pass:
    """One pass over a set: yields the outputs and keeps predictions and time."""

    def __init__(self, runner: Runner, declared: dict[str, Any], samples: Samples) -> None:
        self.runner, self.steps, self.samples = runner, preprocess.check(declared), samples
        self.predictions: list[int] = []
        self.invoke_ns_total = 0

    def outputs(self, stage: str, progress: Progress) -> Iterator[NDArray[Any]]:
        told = time.monotonic()
        for index in range(len(self.samples)):
            self.runner.set(preprocess.run(self.steps, self.samples[index]))
            started = time.perf_counter_ns()
            self.runner.invoke()
            self.invoke_ns_total += time.perf_counter_ns() - started
            output = self.runner.get()
            self.predictions.append(int(output.argmax()))
            yield output
            if time.monotonic() - told > 0.5:  # seconds
                told = time.monotonic()
                progress(stage, index + 1, len(self.samples))

    def report(self) -> dict[str, Any]:
        labels = self.samples.labels()
        known = None if labels is None else [int(label) for label in labels]
        right = sum(label == guess for label, guess in zip(known or [], self.predictions))
        return {
            "n": len(self.predictions),
            "predictions": self.predictions,
            "labels": known,
            "top1": right / len(known) if known else None,
            "invoke_ns_total": self.invoke_ns_total,
            "runtime": self.runner.runtime,
            "input": self.runner.input,
            "output": self.runner.output,
        }


def probe(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Predict a whole set: the argmax of the first output, flattened; with labels, top-1."""
    path = check_blob(root, matching(job.get("samples"), DIGEST, "samples"), None, "the sample set")
    declared, _, runner = open_release(job, root)
    with Samples(path) as samples:
        run = _Pass(runner, declared, samples)
        collections.deque(run.outputs("accuracy", progress), maxlen=0)
        return run.report()


def infer(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Run any artifact over a set and write its raw first outputs; the host's way, for a bad file may abort the process."""
    artifact, container, outputs = (job.get(key) for key in ("artifact", "samples", "outputs"))
    absolute = all(isinstance(path, str) and os.path.isabs(path) for path in (artifact, container, outputs))
    if not absolute or not isinstance(job.get("preprocess"), dict):
        raise AgentError("usage", "infer needs absolute paths artifact, samples, outputs, and a table preprocess")
    runner = Runner(root, str(artifact), integer(job, "threads", 1, 256, 1))
    with Samples(str(container)) as samples:
        run = _Pass(runner, job["preprocess"], samples)
        write(str(outputs), run.outputs("infer", progress))
        return run.report()


def golden(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Run a release on its golden samples and compare with what the host got.

    ``max_diff`` is in quantization steps; for a float output a step is 1/255 of the range of the golden outputs. A difference above the
    tolerance is a result that says ``ok: false``; outputs that cannot be compared are an error of kind ``mismatch``.
    """
    declared, kept, runner = open_release(job, root)
    import numpy as np

    tolerance = number(kept, "tolerance", 0, 1 << 16, 0)
    digest, worst, low, high = hashlib.sha256(), 0.0, math.inf, -math.inf
    with Samples(kept["samples"]) as samples, Samples(kept["outputs"]) as expected:
        count = len(samples)
        if not count or count != len(expected):
            raise AgentError("mismatch", "%d golden samples, %d golden outputs" % (count, len(expected)))
        for index, output in enumerate(_Pass(runner, declared, samples).outputs("golden", progress)):
            wanted = expected[index]
            if (wanted.shape, wanted.dtype) != (output.shape, output.dtype):
                texts = (output.dtype, output.shape, wanted.dtype, wanted.shape)
                raise AgentError("mismatch", "the output is %s %s, the golden one %s %s" % texts)
            digest.update(output.tobytes())
            difference = float(np.abs(output.astype(np.float64) - wanted).max())
            worst = max(worst, difference) if math.isfinite(difference) else math.inf
            low, high = min(low, float(wanted.min())), max(high, float(wanted.max()))
        if output.dtype.kind == "f" and high > low:
            worst *= 255 / (high - low)
    shown = worst if math.isfinite(worst) else None
    return {"ok": worst <= tolerance, "count": count, "max_diff": shown, "tolerance": tolerance, "outputs_sha256": digest.hexdigest()}
