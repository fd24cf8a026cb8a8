"""NVIDIA ModelOpt, ONNX, on the CPU; what it does not quantize stays float32, which CPUs compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from modelopt.onnx.quantization import quantize as modelopt_quantize

from bench.quantization.job import Job


def quantize(job: Job) -> Path:
    samples = list(job.samples)
    data = {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}
    modelopt_quantize(
        job.model,
        calibration_data=data,
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
        output_path=str(job.output(".onnx")),
        **job.options,
    )
    return job.output(".onnx")
