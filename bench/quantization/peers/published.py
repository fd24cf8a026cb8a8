"""A file that others published: nothing to quantize."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.quantization.job import Job


def quantize(job: Job) -> Path:
    shutil.copyfile(job.options["published"], job.output(".tflite"))
    return job.output(".tflite")
