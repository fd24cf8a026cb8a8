"""Running an artifact over samples: the golden check of a release, its predictions on a set, and any artifact on the host.

Jobs `golden`, `probe.accuracy`, `infer`. Memory holds one sample.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from typing import TYPE_CHECKING, Any, Iterator

from . import preprocess
from .disk import blob_path, regular_bytes, sha256_file
from .runner import Runner, open_release
from .samples import Samples, write
from .wire import DIGEST, AgentError, Progress, integer, matching, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROGRESS_S = 0.5


class _Pass:
    """One pass over a set: yields the outputs and keeps count of predictions and time."""

    def __init__(self, runner: Runner, steps: dict[str, Any], stage: str, progress: Progress) -> None:
        self.runner, self.steps, self.stage, self.progress = runner, preprocess.check(steps), stage, progress
        self.predictions: list[int] = []
        self.invoke_ns_total = 0

    def outputs(self, samples: Samples) -> Iterator[NDArray[Any]]:
        told = time.monotonic()
        for index, sample in enumerate(samples):
            self.runner.set(preprocess.run(self.steps, sample))
            started = time.perf_counter_ns()
            self.runner.invoke()
            self.invoke_ns_total += time.perf_counter_ns() - started
            output = self.runner.get()
            self.predictions.append(int(output.argmax()))
            yield output
            if time.monotonic() - told > PROGRESS_S:
                told = time.monotonic()
                self.progress(self.stage, index + 1, len(samples))

    def report(self, samples: Samples) -> dict[str, Any]:
        labels = samples.labels()
        known = None if labels is None else [int(label) for label in labels]
        right = sum(label == guess for label, guess in zip(known or [], self.predictions))
        return {
            "n": len(self.predictions),
            "predictions": self.predictions,
            "labels": known,
            "top1": right / len(known) if known else None,
            "invoke_ns_total": self.invoke_ns_total,
            "runtime": {"name": self.runner.name, "version": self.runner.version},
            "input": self.runner.input,
            "output": self.runner.output,
        }


def probe(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Predict a whole set: the argmax of the first output, flattened; with labels, top-1."""
    digest = matching(job.get("samples"), DIGEST, "samples")
    path = blob_path(root, digest)
    if regular_bytes(path) is None:
        raise AgentError("state", "the samples are not here: blob %s" % digest, "send them first")
    if sha256_file(path) != digest:
        os.unlink(path)
        raise AgentError("mismatch", "the stored samples are damaged and now deleted", "send them again")
    _, manifest, runner = open_release(job, root)
    with Samples(path) as samples:
        run = _Pass(runner, manifest["preprocess"], "accuracy", progress)
        for _ in run.outputs(samples):
            pass
        return run.report(samples)


def infer(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Run any artifact over a set and write its raw first outputs; the host's way, for a bad file may abort the process."""
    paths = [job.get(key) for key in ("artifact", "samples", "outputs")]
    if not all(isinstance(path, str) and os.path.isabs(path) for path in paths) or not isinstance(job.get("preprocess"), dict):
        raise AgentError("usage", "infer needs absolute paths artifact, samples, outputs and a table preprocess")
    runner = Runner(root, str(paths[0]), integer(job, "threads", 1, 256, 1))
    with Samples(str(paths[1])) as samples:
        run = _Pass(runner, job["preprocess"], "infer", progress)
        write(str(paths[2]), run.outputs(samples))
        return run.report(samples)


def golden(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Run a release on its golden samples and compare with what the host got.

    ``max_diff`` is in quantization steps; for a float output a step is 1/255 of the range of the golden outputs. A difference above the
    tolerance is a result that says ``ok: false``; outputs that cannot be compared are an error of kind ``mismatch``.
    """
    _, manifest, runner = open_release(job, root)
    import numpy as np

    tolerance = number(manifest["golden"], "tolerance", 0, 1 << 16, 0)
    digest, worst, low, high = hashlib.sha256(), 0.0, math.inf, -math.inf
    with Samples(manifest["golden"]["samples"]) as samples, Samples(manifest["golden"]["outputs"]) as expected:
        if len(samples) != len(expected) or not len(samples):
            raise AgentError("mismatch", "%d golden samples, %d golden outputs" % (len(samples), len(expected)))
        for index, output in enumerate(_Pass(runner, manifest["preprocess"], "golden", progress).outputs(samples)):
            wanted = expected[index]
            if (wanted.shape, wanted.dtype) != (output.shape, output.dtype):
                texts = (output.dtype, output.shape, wanted.dtype, wanted.shape)
                raise AgentError("mismatch", "the output is %s %s, the golden one %s %s" % texts)
            digest.update(np.ascontiguousarray(output).tobytes())
            difference = np.abs(output.astype(np.float64) - wanted.astype(np.float64)).max() if output.size else 0.0
            worst = max(worst, float(difference)) if np.isfinite(difference) else math.inf
            low, high = min(low, float(wanted.min())), max(high, float(wanted.max()))
        count = len(samples)
        if output.dtype.kind == "f":
            worst = worst * 255 / (high - low) if high > low else worst
    sound = math.isfinite(worst)
    return {
        "ok": sound and worst <= tolerance,
        "count": count,
        "max_diff": worst if sound else None,
        "tolerance": tolerance,
        "outputs_sha256": digest.hexdigest(),
    }
