"""NNCF, ONNX back end."""

from __future__ import annotations

from pathlib import Path

import nncf
import onnx

from bench.quantization.job import Job


def quantize(job: Job) -> Path:
    kind = nncf.ModelType.TRANSFORMER if job.text else None
    model = nncf.quantize(onnx.load(job.model), nncf.Dataset(job.samples), subset_size=job.count, model_type=kind)
    onnx.save(model, job.output(".onnx"))
    return job.output(".onnx")
