"""Running an artifact over samples: the golden check of a release, its answers to a set, and any artifact on the host.

Jobs `golden`, `probe.accuracy`, `probe.outputs`, `infer`. Memory holds one sample.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import math
import os
import time
from typing import TYPE_CHECKING, Any, Callable, Iterator

from . import inputs, preprocess
from .runner import GOLDEN, Runner, open_artifact, open_release
from .samples import ALONE, Sample, Samples, write
from .store import check_blob
from .wire import DIGEST, AgentError, Progress, integer, matching, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Pass", "golden", "infer", "outputs", "probe", "steps"]

DIGESTS_MAX = 200_000  # what one answer may hold, beside as many predictions and labels


class Pass:
    """One pass over a set: yields the outputs and keeps the predictions, and if asked the digests of what the inputs were set to."""

    def __init__(self, runner: Runner, declared: dict[str, Any], samples: Samples, digests: bool = False) -> None:
        self.runner, self.steps, self.samples = runner, preprocess.check(declared), samples
        self.shapes = inputs.shapes(runner.inputs, samples.arrays)
        self.predictions: list[int] = []
        self.fed: list[str] | None = [] if digests else None
        if digests and len(samples) > DIGESTS_MAX:
            raise AgentError("usage", "%d samples; up to %d digests are told" % (len(samples), DIGESTS_MAX))

    def outputs(self, stage: str, progress: Progress) -> Iterator[Sample]:
        told = time.monotonic()
        for index in range(len(self.samples)):
            fed = preprocess.feed(self.steps, self.samples[index], self.shapes)
            if self.fed is not None:
                self.fed.append(inputs.digest(self.runner.inputs, fed))
            self.runner.set(fed)
            self.runner.invoke()
            answer = self.runner.answer()
            self.predictions.append(int(self._first(answer).argmax()))
            yield answer
            if time.monotonic() - told > 0.5:  # seconds
                told = time.monotonic()
                progress(stage, index + 1, len(self.samples))

    def _first(self, answer: Sample) -> NDArray[Any]:
        """Return the first output; which that is, the names alone do not say."""
        first: NDArray[Any] = answer[ALONE] if len(self.runner.outputs) == 1 else answer[self.runner.output["name"]]
        return first

    def compare(self, wanted: Sample, answer: Sample) -> float:
        """Return how many steps an answer is from a golden one, which may hold the first output alone."""
        if wanted.keys() == answer.keys():
            return max(steps(wanted[name], answer[name]) for name in wanted)
        return steps(wanted[ALONE], self._first(answer))

    def report(self) -> dict[str, Any]:
        labels = self.samples.labels()
        known = None if labels is None else [int(label) for label in labels]
        right = sum(label == guess for label, guess in zip(known or [], self.predictions))
        return {
            "n": len(self.predictions),
            "predictions": self.predictions,
            "fed": self.fed,
            "labels": known,
            "top1": right / len(known) if known else None,
            "runtime": self.runner.runtime,
            "inputs": self.runner.inputs,
            "outputs": self.runner.outputs,
        }


def probe(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Predict a whole set: the argmax of the first output, flattened; with labels, top-1. ``as_fed``: the set is preprocessed already."""
    path = check_blob(root, matching(job.get("samples"), DIGEST, "samples"), None, "the sample set")
    declared, _, runner = open_release(job, root)
    with Samples(path) as samples:
        run = Pass(runner, {"inputs": []} if job.get("as_fed") is True else declared, samples, job.get("digests") is True)
        collections.deque(run.outputs("accuracy", progress), maxlen=0)
        return run.report()


def outputs(job: dict[str, Any], root: str, progress: Progress, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Run a release over a set, and tell the raw outputs of each sample, in their order."""
    path = check_blob(root, matching(job.get("samples"), DIGEST, "samples"), None, "the sample set")
    declared, _, runner = open_release(job, root)
    with Samples(path) as samples:
        count = 0
        for answer in Pass(runner, declared, samples).outputs("predict", progress):
            raw = [answer[table["name"] if table["name"] in answer else ALONE] for table in runner.outputs]
            tell({"outputs": [base64.b64encode(output.tobytes()).decode("ascii") for output in raw]})
            count += 1
    return {"count": count, "outputs": runner.outputs, "runtime": runner.runtime, "delegate": runner.delegate}


def infer(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Run any artifact over a set and write its raw outputs; the host's way, for a bad file may abort the process."""
    artifact, container, outputs = (job.get(key) for key in ("artifact", "samples", "outputs"))
    absolute = all(isinstance(path, str) and os.path.isabs(path) for path in (artifact, container, outputs))
    if not absolute or not isinstance(job.get("preprocess"), dict):
        raise AgentError("usage", "infer needs absolute paths artifact, samples, outputs, and a table preprocess")
    runner = open_artifact(root, str(artifact), integer(job, "threads", 1, 256, 1), job.get("builtin") is True)
    with Samples(str(container)) as samples:
        run = Pass(runner, job["preprocess"], samples, job.get("digests") is True)
        write(str(outputs), run.outputs("infer", progress))
        return run.report()


def golden(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Run a release on its golden samples and compare with what the host got, in quantization steps.

    XNNPACK and the builtin kernels round differently, and depth amplifies it: the host made a set with each, the nearer one counts.
    """
    declared, kept, runner = open_release(job, root)
    tolerance = number(kept, "tolerance", 0, 1 << 16, 0)
    with contextlib.ExitStack() as stack:
        samples, *expected = [stack.enter_context(Samples(kept[key])) for key in GOLDEN]
        count, worst = len(samples), [0.0] * len(expected)
        run = Pass(runner, declared, samples)
        known = ((ALONE,), tuple(sorted(table["name"] for table in runner.outputs)))
        if not count or any(len(outputs) != count or outputs.arrays not in known for outputs in expected):
            raise AgentError("mismatch", "%d golden samples, %s golden outputs" % (count, " and ".join(str(len(one)) for one in expected)))
        for index, answer in enumerate(run.outputs("golden", progress)):
            worst = [max(so_far, run.compare(outputs[index], answer)) for so_far, outputs in zip(worst, expected)]
    nearest = min(worst)
    return {"ok": nearest <= tolerance, "count": count, "max_diff": nearest if math.isfinite(nearest) else None, "tolerance": tolerance}


def steps(wanted: NDArray[Any], output: NDArray[Any]) -> float:
    """Return the largest difference in quantization steps; a float output's step is 1/255 of the golden output's range."""
    import numpy as np

    if (wanted.shape, wanted.dtype) != (output.shape, output.dtype):
        texts = (output.dtype, output.shape, wanted.dtype, wanted.shape)
        raise AgentError("mismatch", "the output is %s %s, the golden one %s %s" % texts)
    difference = float(np.abs(output.astype(np.float64) - wanted).max())
    span = float(np.ptp(wanted)) if output.dtype.kind == "f" else 0.0
    return (difference * 255 / span if span > 0 else difference) if math.isfinite(difference) else math.inf
