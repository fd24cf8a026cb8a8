"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from bench.quantization.feed import Array, Feed

__all__ = ["open_file"]


class _Opened:
    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._feed: Feed = {}
        self._made: list[Array] = []

    def feed(self, sample: Feed) -> None:
        self._feed = sample

    def invoke(self) -> None:
        self._made = self._session.run(None, self._feed)

    def output(self) -> Array:
        return np.asarray(self._made[0])


def open_file(path: Path, threads: int | None) -> _Opened:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    return _Opened(onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))
