"""LiteRT with XNNPACK, its default. Integers in and out are quantized here, as the application on a board would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from bench.quantization.feed import Array, Feed

__all__ = ["as_taken", "entry_of", "open_file"]


class _Opened:
    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self._entries = {detail["name"]: detail for detail in interpreter.get_input_details()}

    def feed(self, sample: Feed) -> None:
        for name, value in sample.items():
            detail = self._entries[entry_of(name, self._entries)]
            self._interpreter.set_tensor(detail["index"], as_taken(detail, value))

    def invoke(self) -> None:
        self._interpreter.invoke()

    def output(self) -> Array:
        detail = self._interpreter.get_output_details()[0]
        made = np.asarray(self._interpreter.get_tensor(detail["index"]))
        if made.dtype.kind == "f":
            return made
        scale, zero_point = detail["quantization"]
        return np.asarray((made.astype(np.float32) - zero_point) * np.float32(scale))


def entry_of(name: str, details: Mapping[str, Any]) -> str:
    """Return what a file calls an input of the ONNX model: converters decorate names, or make up the only one."""
    found = [key for key in details if name in key] or list(details)
    if len(found) != 1:
        raise ValueError(f"which of {', '.join(details)} is {name}?")
    return found[0]


def as_taken(detail: Mapping[str, Any], value: Array) -> Array:
    """Return an array in the layout and type of an input."""
    if value.ndim == 4 and value.shape != tuple(detail["shape"]):
        value = value.transpose(0, 2, 3, 1)
    scale, zero_point = detail["quantization"]
    if scale:
        limits = np.iinfo(detail["dtype"])
        value = np.clip(np.rint(value / np.float32(scale)) + zero_point, limits.min, limits.max)
    return np.ascontiguousarray(value, detail["dtype"])


def open_file(path: Path, threads: int | None) -> _Opened:
    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    return _Opened(interpreter)
