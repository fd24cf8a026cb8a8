"""No quantization: the float model over the calibration samples, once. The least that calibrating on them can take."""

from __future__ import annotations

import onnxruntime

from bench.quantization.job import Job


def quantize(job: Job) -> None:
    session = onnxruntime.InferenceSession(job.model, providers=["CPUExecutionProvider"])
    for sample in job.samples:
        session.run(None, sample)
