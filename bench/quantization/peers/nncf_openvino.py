"""NNCF, OpenVINO back end."""

from __future__ import annotations

from pathlib import Path

import nncf
import openvino

from bench.quantization.job import Job


def quantize(job: Job) -> Path:
    kind = nncf.ModelType.TRANSFORMER if job.text else None
    model = openvino.Core().read_model(job.model)
    model = nncf.quantize(model, nncf.Dataset(job.samples), subset_size=job.count, model_type=kind)
    openvino.save_model(model, job.output(".xml"))
    return job.output(".xml")
