"""OpenVINO on the CPU. By default it computes floats as bfloat16 where the processor has instructions for them, the float model's too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino

from bench.quantization.feed import Array, Feed

__all__ = ["open_file"]


class _Opened:
    def __init__(self, request: openvino.InferRequest) -> None:
        self._request = request

    def feed(self, sample: Feed) -> None:
        for name, value in sample.items():
            self._request.set_tensor(name, openvino.Tensor(value))

    def invoke(self) -> None:
        self._request.infer()

    def output(self) -> Array:
        return np.array(self._request.get_output_tensor(0).data)


def open_file(path: Path, threads: int | None) -> _Opened:
    settings = {} if threads is None else {"INFERENCE_NUM_THREADS": str(threads)}
    return _Opened(openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request())
