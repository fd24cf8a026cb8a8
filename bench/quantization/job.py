"""``Job``: what a driver is asked to do. ``launch`` reads it in a process of its own; the bench writes it.

Runs in every peer's environment.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.quantization.feed import Samples

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """One model to be quantized by one peer.

    Attributes
    ----------
    driver
        Module whose ``quantize(job)`` does it and returns the file it wrote.
    model
        The float ONNX model with every shape pinned. A copy: ModelOpt writes to its input.
    tflite
        The same as a float .tflite, where one could be made.
    calibration, count
        Folder of prepared samples, and how many of them to take.
    text
        Whether the model reads text: NNCF wants to be told of a transformer.
    folder
        Private to this job.
    options
        Whatever else the driver takes.
    """

    driver: str
    model: str
    tflite: str | None
    calibration: str
    count: int
    text: bool
    folder: str
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Job:
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @property
    def samples(self) -> Samples:
        return Samples(Path(self.calibration), self.count)

    def output(self, suffix: str) -> Path:
        return Path(self.folder) / f"artifact{suffix}"
