"""Intel Neural Compressor, ONNX, static."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neural_compressor import PostTrainingQuantConfig, quantization

from bench.quantization.job import Job


class Loader:
    """What it takes for a data loader: batches with labels, and their size."""

    batch_size = 1

    def __init__(self, job: Job) -> None:
        self._job = job

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        for sample in self._job.samples:
            yield (sample if len(sample) > 1 else next(iter(sample.values()))), 0


def quantize(job: Job) -> Path:
    config = PostTrainingQuantConfig(approach="static", calibration_sampling_size=[job.count], **job.options)
    model = quantization.fit(job.model, conf=config, calib_dataloader=Loader(job))
    if model is None:
        raise RuntimeError("neural-compressor made no model")
    model.save(str(job.output(".onnx")))
    return job.output(".onnx")
