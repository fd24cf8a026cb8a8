"""litert-quantizer, or under its former name ai-edge-quantizer: static INT8 of a float .tflite."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter

from bench.quantization.feed import Feed
from bench.quantization.job import Job
from bench.quantization.runtimes.litert import as_taken, entry_of


def quantize(job: Job) -> Path:
    if job.tflite is None:
        raise RuntimeError("there is no float .tflite of this model")
    package = job.options["package"]
    quantizer = importlib.import_module(f"{package}.quantizer").Quantizer(job.tflite)
    recipe = importlib.import_module(f"{package}.recipe")
    quantizer.load_quantization_recipe(recipe.static_wi8_ai8())
    statistics = quantizer.calibrate(feeds(job))
    quantizer.quantize(statistics).export_model(str(job.output(".tflite")))
    return job.output(".tflite")


class Taken:
    """The samples as the file's inputs take them. It is read twice: the quantizer counts them first."""

    def __init__(self, job: Job, details: Mapping[str, Any]) -> None:
        self._samples, self._details = job.samples, details

    def __iter__(self) -> Iterator[Feed]:
        for sample in self._samples:
            keys = {name: entry_of(name, self._details) for name in sample}
            yield {key: as_taken(self._details[key], sample[name]) for name, key in keys.items()}


def feeds(job: Job) -> dict[str, Taken]:
    """Return the samples under the name of the file's signature."""
    interpreter = Interpreter(model_path=job.tflite)
    signature = next(iter(interpreter.get_signature_list()))
    return {signature: Taken(job, interpreter.get_signature_runner(signature).get_input_details())}
